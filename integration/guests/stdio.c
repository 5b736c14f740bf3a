// The connection as a stdio stream, line by line.
#include "guest.h"

static void server(struct where at) {
  FILE* stream = fdopen(serve_one(&at), "r+");
  char line[80];
  for (int i = 1; fgets(line, sizeof line, stream) != NULL; ++i) {
    line[strcspn(line, "\n")] = '\0';
    say("line %d \"%s\"", i, line);
  }
}

static void client(struct where at) {
  FILE* stream = fdopen(dial(&at), "w");
  for (int i = 0; i < 3; ++i) fprintf(stream, "number %d\n", i);
  result("fclose", fclose(stream));
}

GUEST(server, client)
