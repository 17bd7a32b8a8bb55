/*
 * LD_PRELOAD for clients that know no proxy: every TCP connection to PORT goes to the proxy at 127.0.0.1:CONNECT_VIA first, which is asked
 * to CONNECT to CONNECT_HOST:PORT. Once for each connection, so that it costs nothing for each request.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int connect(int fd, const struct sockaddr *to, socklen_t length) {
  static int (*real_connect)(int, const struct sockaddr *, socklen_t);
  if (real_connect == NULL) real_connect = dlsym(RTLD_NEXT, "connect");
  const char *via = getenv("CONNECT_VIA"), *target = getenv("CONNECT_HOST"), *port = getenv("CONNECT_PORT");
  const struct sockaddr_in *wanted = (const struct sockaddr_in *)to;
  if (via == NULL || target == NULL || port == NULL || to->sa_family != AF_INET || ntohs(wanted->sin_port) != atoi(port))
    return real_connect(fd, to, length);

  struct sockaddr_in proxy = {.sin_family = AF_INET, .sin_port = htons(atoi(via)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  char text[1024];
  int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  if (real_connect(fd, (struct sockaddr *)&proxy, sizeof proxy) != 0) return -1;
  int written = snprintf(text, sizeof text, "CONNECT %s:%s HTTP/1.1\r\nHost: %s:%s\r\n\r\n", target, port, target, port);
  if (send(fd, text, written, 0) != written) return -1;
  size_t got = 0;
  while (got + 1 < sizeof text) {
    if (recv(fd, text + got, 1, 0) != 1) break;
    text[++got] = '\0';
    if (got >= 4 && strcmp(text + got - 4, "\r\n\r\n") == 0) {
      fcntl(fd, F_SETFL, flags);
      if (memcmp(text + 8, " 200", 4) == 0) return 0;
      break;
    }
  }
  errno = ECONNREFUSED;
  return -1;
}
