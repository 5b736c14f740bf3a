// The HTTP server and client of the JDK: digests of pseudo-random bodies.
//
//   java Hash.java serve PORT | java Hash.java ask HOST PORT COUNT
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Random;
import java.util.concurrent.Executors;

public class Hash {
  static String digest(byte[] bytes) throws Exception {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
  }

  public static void main(String[] args) throws Exception {
    if (args[0].equals("serve")) {
      HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(args[1])), 64);
      server.setExecutor(Executors.newFixedThreadPool(4));
      server.createContext("/", exchange -> {
        try {
          byte[] answer = digest(exchange.getRequestBody().readAllBytes()).getBytes();
          exchange.sendResponseHeaders(200, answer.length);
          exchange.getResponseBody().write(answer);
          exchange.close();
        } catch (Exception e) {
          e.printStackTrace();
        }
      });
      server.start();
      return;
    }
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    int right = 0;
    for (int i = 0; i < Integer.parseInt(args[3]); i++) {
      byte[] body = new byte[1 + i * 7919 % 200000];
      new Random(i).nextBytes(body);
      HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + args[1] + ":" + args[2]))
          .timeout(Duration.ofSeconds(30)).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
      if (client.send(request, HttpResponse.BodyHandlers.ofString()).body().equals(digest(body)))
        right++;
    }
    System.out.println("right: " + right);
  }
}
