"""The applications of applications_test.py: images of Debian's programs, and what they are told."""

import hashlib
import os
import shutil
import subprocess
import tempfile

import harness  # noqa: F401  finds lib
from lib import images, paths
from lib.images import Image

_HERE = os.path.dirname(os.path.realpath(__file__))


def _text(name):
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()


_PYTHON = images.IMAGES["python"]
PYTHON = Image("applications-python", packages=_PYTHON.packages, programs=_PYTHON.programs,
               trees=_PYTHON.trees, links=_PYTHON.links,
               files=(("/streams.py", 0o644, _text("streams.py")),
                      ("/cached.py", 0o644, _text("cached.py"))))

MEMCACHED = Image("memcached", packages=("memcached", "libevent-2.1-7", "libsasl2-2"),
                  programs=("memcached",))

CURL = Image("curl", packages=("curl", "libcurl4"), programs=("curl",))
WRK = Image("wrk", packages=("wrk", "libluajit-5.1-2"), programs=("wrk",))

_NGINX = """\
daemon off; user root; pid /tmp/nginx.pid; error_log stderr; worker_processes 2;
events { worker_connections 512; }
http {
  access_log off; sendfile on; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3;
  uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5;
  upstream behind { server BACKEND:8080; keepalive 16; }
  server { listen 8080; root /www; }
  server { listen 8081;
           location / { proxy_pass http://behind; proxy_http_version 1.1;
                        proxy_set_header Connection ""; proxy_buffering off; } }
}
"""


def page(number):
    """What nginx serves as /NUMBER: repeatable, of many sizes."""
    return hashlib.sha256(str(number).encode()).hexdigest() * (number * number * 16 + 1)


PAGES = range(0, 60, 3)


def nginx(backend="127.0.0.1"):
    """Serves pages at 8080; at 8081 those of another one, over kept connections."""
    return Image("nginx-" + backend.replace(".", "-"), packages=("nginx",), programs=("nginx",),
                 files=(("/etc/nginx.conf", 0o644, _NGINX.replace("BACKEND", backend)),
                        ("/var/log/nginx/error.log", 0o644, ""),
                        *((f"/www/{number}", 0o644, page(number)) for number in PAGES)))


NGINX_COMMAND = ("nginx", "-c", "/etc/nginx.conf")

_HAPROXY = """\
global
  maxconn 1000
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend http
  mode http
  bind :8081
  default_backend behind-http
backend behind-http
  mode http
  http-reuse always
  server one BACKEND:8080
frontend tcp
  mode tcp
  bind :8082
  default_backend behind-tcp
backend behind-tcp
  mode tcp
  server one BACKEND:8080
"""


def haproxy(backend):
    """An HTTP proxy at 8081, a TCP one at 8082."""
    return Image("haproxy-" + backend.replace(".", "-"),
                 packages=("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"),
                 programs=("haproxy",),
                 files=(("/etc/haproxy.cfg", 0o644, _HAPROXY.replace("BACKEND", backend)),))


_POSTGRESQL = "/usr/lib/postgresql/15"
POSTGRESQL = Image(
    "postgresql", packages=("postgresql-15", "postgresql-client-15", "libpq5", "tzdata"),
    programs=(*(f"{_POSTGRESQL}/bin/{name}" for name in ("initdb", "pgbench", "postgres", "psql")),
              # Not llvmjit.so: LLVM alone is larger than all the rest.
              *(f"{_POSTGRESQL}/lib/{name}.so" for name in ("dict_snowball", "plpgsql"))),
    trees=("/usr/share/postgresql/15", "/usr/share/zoneinfo/Etc"),
    env=(f"PATH={_POSTGRESQL}/bin:/usr/bin:/bin",), user="user")
POSTGRESQL_COMMAND = ("sh", "-c", "initdb -D /tmp/data -U user -A trust --locale=C -N >/tmp/log"
                      " && echo 'host all all all trust' >>/tmp/data/pg_hba.conf"
                      " && exec postgres -D /tmp/data -k /tmp -h 0.0.0.0 -F")

NODEJS = Image(
    "nodejs", packages=("nodejs", "libnode108", "node-acorn", "node-busboy", "node-cjs-module-lexer",
                        "node-undici", "node-xtend"),
    programs=("node",), trees=("/usr/share/nodejs",),
    files=(("/hash.js", 0o644, _text("hash.js")),))

_JAVA = "/usr/lib/jvm/java-17-openjdk-amd64"
JAVA = Image("java", packages=("openjdk-17-jre-headless",), programs=(f"{_JAVA}/bin/java",),
             trees=(f"{_JAVA}/lib", f"{_JAVA}/conf", "/etc/java-17-openjdk"),
             files=(("/Hash.java", 0o644, _text("Hash.java")),), links=(
                 ("/usr/bin/java", f"{_JAVA}/bin/java"),))

_SSHD = """\
Port 2222
HostKey /etc/ssh/host
PermitRootLogin yes
AuthorizedKeysFile /shared/key.pub
StrictModes no
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
"""
OPENSSH = Image(
    "openssh", packages=("openssh-server", "openssh-client", "openssh-sftp-server", "libwrap0"),
    programs=("/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/scp", "/usr/bin/ssh-keygen",
              "/usr/lib/openssh/sftp-server"),
    files=(("/etc/ssh/sshd_config", 0o644, _SSHD), ("/run/sshd/.keep", 0o644, ""),
           ("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n"
            "sshd:x:100:65534::/run/sshd:/bin/false\nnobody:x:65534:65534::/:/bin/false\n")))
OPENSSH_COMMAND = ("sh", "-c", "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/host"
                   " && exec /usr/sbin/sshd -D -e")


def _go_program(name):
    """Path of a Go program, compiled offline on first use: static, as Go's are, so that no libc stands
    between it and the kernel."""
    source = _text(name)
    key = hashlib.sha256(source.encode()).hexdigest()[:24]
    target = os.path.join(paths.cache_dir("programs"), f"go-{key}")
    if os.path.exists(target):
        return target
    with tempfile.TemporaryDirectory(dir=paths.cache_dir("programs")) as work:
        # Two packages share the tree; the links between its halves are relative.
        for package in images.unpack(("golang-1.19-go", "golang-1.19-src")):
            for part in ("lib", "share"):
                if os.path.isdir(f"{package}/usr/{part}/go-1.19"):
                    shutil.copytree(f"{package}/usr/{part}/go-1.19", f"{work}/{part}/go-1.19",
                                    symlinks=True, copy_function=os.link, dirs_exist_ok=True)
        with open(f"{work}/hash.go", "w", encoding="utf-8") as file:
            file.write(source)
        root = f"{work}/lib/go-1.19"
        subprocess.run(
            [f"{root}/bin/go", "build", "-o", f"{work}/program", f"{work}/hash.go"], check=True,
            timeout=300, cwd=work,
            env={"PATH": paths.SYSTEM_PATH, "GOROOT": root, "GOCACHE": f"{work}/cache",
                 "GOPATH": f"{work}/path", "GOPROXY": "off", "CGO_ENABLED": "0"})
        os.rename(f"{work}/program", target)
    return target


def go():
    with open(_go_program("hash.go"), "rb") as file:
        return Image("go", files=(("/usr/bin/hash", 0o755, file.read()),))
