/*
 * Clients that wrk and h2load are not: TLS connections one after another, many held at once, events as they come, and a TCP echo. Small on
 * purpose: the gate is measured, not this. Certificates are not verified, as wrk does not. Prints one line of JSON, times in microseconds.
 *
 *   connections churn   HOST PORT AUTHORIZATION CONCURRENCY SECONDS new|resume
 *   connections hold    HOST PORT AUTHORIZATION COUNT           prints when all are open, then holds them until it is killed
 *   connections events  HOST PORT AUTHORIZATION SECONDS         reads /events again and again over one connection
 *   connections echo    HOST PORT SECONDS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SAMPLES 4000000
#define OPENING_AT_ONCE 32
#define ECHO_BYTES 100

enum state { CONNECTING, HANDSHAKE, WRITING, READING, HELD };

struct connection {
  int fd;
  SSL *ssl;
  enum state state;
  long long started_ns;
  size_t got;
};

static struct sockaddr_storage address;
static socklen_t address_length;
static const char *host, *host_field;
static SSL_CTX *context;
static SSL_SESSION *latest;
static int resumes;
static char request[2048];
static int epoll_fd;
static double *samples;
static size_t sample_count;
static long completed, resumed, failures;
static char last_failure[200];

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void sample(double us) {
  if (sample_count < MAX_SAMPLES) samples[sample_count++] = us;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double quantile(double share) {
  return sample_count == 0 ? 0 : samples[(size_t)((sample_count - 1) * share)];
}

static void report(long long duration_ns, double first_us) {
  qsort(samples, sample_count, sizeof *samples, by_size);
  printf("\n{\"count\":%ld,\"durationUs\":%lld,\"failures\":%ld,\"resumed\":%ld,\"p50Us\":%.1f,\"p99Us\":%.1f,\"firstUs\":%.1f}\n",
         completed, duration_ns / 1000, failures, resumed, quantile(0.5), quantile(0.99), first_us);
  if (failures > 0) printf("last failure: %s\n", last_failure);
}

static void resolve(const char *port) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
  int status = getaddrinfo(host, port, &hints, &found);
  if (status != 0) {
    fprintf(stderr, "%s: %s\n", host, gai_strerror(status));
    exit(1);
  }
  memcpy(&address, found->ai_addr, found->ai_addrlen);
  address_length = found->ai_addrlen;
  freeaddrinfo(found);
}

static int keep_session(SSL *ssl, SSL_SESSION *session) {
  (void)ssl;
  if (latest != NULL) SSL_SESSION_free(latest);
  latest = session;
  return 1;
}

static void start_tls(void) {
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  if (resumes) SSL_CTX_sess_set_new_cb(context, keep_session);
}

static SSL *new_tls(int fd) {
  SSL *ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  SSL_set_tlsext_host_name(ssl, host);
  SSL_set_connect_state(ssl);
  if (resumes && latest != NULL) SSL_set_session(ssl, latest);
  return ssl;
}

static int new_socket(int flags) {
  int fd = socket(AF_INET, SOCK_STREAM | flags, 0), one = 1;
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (struct sockaddr *)&address, address_length) != 0 && errno != EINPROGRESS) die("connect");
  return fd;
}

static void write_request(const char *path, const char *authorization, const char *connection) {
  snprintf(request, sizeof request,
           "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAuthorization: %s\r\nConnection: %s\r\n\r\n",
           path, host_field, authorization, connection);
}

static void watch(struct connection *c, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll_fd, operation, c->fd, &event) != 0) die("epoll_ctl");
}

static void begin(struct connection *c) {
  c->started_ns = now_ns();
  c->fd = new_socket(SOCK_NONBLOCK);
  c->ssl = new_tls(c->fd);
  c->state = CONNECTING;
  c->got = 0;
  watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

/* A session whose connection ended without a close_notify is not resumed. */
static void end(struct connection *c) {
  SSL_shutdown(c->ssl);
  ERR_clear_error();
  SSL_free(c->ssl);
  close(c->fd);
}

static void fail(const char *what) {
  failures++;
  snprintf(last_failure, sizeof last_failure, "%s (%s)", what, ERR_reason_error_string(ERR_peek_last_error()) ?: strerror(errno));
  ERR_clear_error();
}

/* Whether the connection wants to be waited for; what it waits for is set. */
static int must_wait(struct connection *c, int result) {
  switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ: watch(c, EPOLLIN, EPOLL_CTL_MOD); return 1;
    case SSL_ERROR_WANT_WRITE: watch(c, EPOLLOUT, EPOLL_CTL_MOD); return 1;
    default: return 0;
  }
}

/* Goes as far as it goes. Returns 1 at the end of a connection, which then was complete, or failed and was counted as such. */
static int advance(struct connection *c, int holds) {
  char buffer[16384];
  int result;
  if (c->state == CONNECTING) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) { errno = error; fail("connect"); return 1; }
    c->state = HANDSHAKE;
  }
  if (c->state == HANDSHAKE) {
    result = SSL_do_handshake(c->ssl);
    if (result != 1) { if (must_wait(c, result)) return 0; fail("handshake"); return 1; }
    if (SSL_session_reused(c->ssl)) resumed++;
    c->state = WRITING;
  }
  if (c->state == WRITING) {
    result = SSL_write(c->ssl, request, strlen(request));
    if (result <= 0) { if (must_wait(c, result)) return 0; fail("write"); return 1; }
    c->state = READING;
  }
  for (;;) {
    result = SSL_read(c->ssl, buffer, sizeof buffer);
    if (result > 0) {
      if (c->state == HELD) continue;
      if (c->got == 0 && (result < 12 || memcmp(buffer + 8, " 200", 4) != 0)) { fail("status"); return 1; }
      c->got += result;
      /* The answer ends with the brace of its JSON. */
      if (buffer[result - 1] == '}') {
        completed++;
        if (!holds) { sample((now_ns() - c->started_ns) / 1e3); return 1; }
        c->state = HELD;
      }
      continue;
    }
    if (must_wait(c, result)) return 0;
    fail(c->state == HELD ? "held connection" : "read");
    return 1;
  }
}

static void churn(int concurrency, double seconds) {
  struct connection *all = calloc(concurrency, sizeof *all);
  struct epoll_event events[256];
  long long started = now_ns(), until = started + (long long)(seconds * 1e9);
  int open_count = concurrency;
  epoll_fd = epoll_create1(0);
  for (int i = 0; i < concurrency; i++) begin(&all[i]);
  while (open_count > 0) {
    int count = epoll_wait(epoll_fd, events, 256, 20000);
    if (count == 0) { failures++; snprintf(last_failure, sizeof last_failure, "nothing happened for 20 s"); break; }
    for (int i = 0; i < count; i++) {
      struct connection *c = events[i].data.ptr;
      if (!advance(c, 0)) continue;
      end(c);
      if (now_ns() < until && failures < 100) begin(c); else open_count--;
    }
  }
  report(now_ns() - started, 0);
}

static void hold(int wanted) {
  struct connection *all = calloc(wanted, sizeof *all);
  struct epoll_event events[256];
  long long started = now_ns();
  int opened = 0;
  epoll_fd = epoll_create1(0);
  while (opened < wanted && opened < OPENING_AT_ONCE) begin(&all[opened++]);
  while (completed + failures < wanted) {
    int count = epoll_wait(epoll_fd, events, 256, 20000);
    if (count == 0) { failures++; snprintf(last_failure, sizeof last_failure, "nothing happened for 20 s"); break; }
    for (int i = 0; i < count; i++) {
      struct connection *c = events[i].data.ptr;
      int was_held = c->state == HELD;
      if (advance(c, 1)) end(c);
      else if (c->state != HELD || was_held) continue;
      if (opened < wanted) begin(&all[opened++]);
    }
  }
  report(now_ns() - started, 0);
  fflush(stdout);
  for (;;) pause();
}

/* Blocking, over one connection: the delay of an event is the time from the stamp in it to its arrival. */
static void events(double seconds) {
  long long started = now_ns(), until = started + (long long)(seconds * 1e9);
  double *firsts = malloc(100000 * sizeof *firsts);
  size_t first_count = 0;
  char buffer[65536];
  int fd = new_socket(0);
  SSL *ssl = new_tls(fd);
  if (SSL_do_handshake(ssl) != 1) die("handshake");
  while (now_ns() < until && first_count < 100000) {
    long long asked = now_ns();
    size_t got = 0;
    int seen = 0;
    char *next = buffer;
    if (SSL_write(ssl, request, strlen(request)) <= 0) die("write");
    for (int is_over = 0; !is_over;) {
      if (got + 1 >= sizeof buffer) { errno = EMSGSIZE; die("events"); }
      int result = SSL_read(ssl, buffer + got, sizeof buffer - 1 - got);
      if (result <= 0) { failures++; snprintf(last_failure, sizeof last_failure, "the connection ended"); goto done; }
      long long arrived = now_ns();
      got += result;
      buffer[got] = '\0';
      for (char *line; (line = strstr(next, "data: ")) != NULL && strchr(line, '\n') != NULL; next = line + 6) {
        double delay = (arrived - atoll(line + 6)) / 1e3;
        if (seen++ == 0) firsts[first_count++] = (arrived - asked) / 1e3;
        else sample(delay);
        completed++;
      }
      is_over = strstr(buffer, "event: end") != NULL && got >= 5 && memcmp(buffer + got - 5, "0\r\n\r\n", 5) == 0;
    }
  }
done:
  qsort(firsts, first_count, sizeof *firsts, by_size);
  report(now_ns() - started, first_count == 0 ? 0 : firsts[first_count / 2]);
}

static void echo(double seconds) {
  long long started = now_ns(), until = started + (long long)(seconds * 1e9);
  char buffer[ECHO_BYTES] = {0};
  int fd = new_socket(0);
  while (now_ns() < until) {
    long long sent = now_ns();
    size_t got = 0;
    if (write(fd, buffer, sizeof buffer) != sizeof buffer) die("write");
    while (got < sizeof buffer) {
      ssize_t result = read(fd, buffer, sizeof buffer - got);
      if (result <= 0) die("read");
      got += result;
    }
    sample((now_ns() - sent) / 1e3);
    completed++;
  }
  report(now_ns() - started, 0);
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  samples = malloc(MAX_SAMPLES * sizeof *samples);
  if (count < 5) return 2;
  const char *mode = arguments[1];
  host = host_field = arguments[2];
  if (strcmp(arguments[3], "443") != 0) {
    static char with_port[300];
    snprintf(with_port, sizeof with_port, "%s:%s", host, arguments[3]);
    host_field = with_port;
  }
  resolve(arguments[3]);
  if (strcmp(mode, "echo") == 0) { echo(atof(arguments[4])); return 0; }
  if (count < 6) return 2;
  resumes = count > 7 && strcmp(arguments[7], "resume") == 0;
  start_tls();
  if (strcmp(mode, "churn") == 0 && count == 8) {
    write_request("/json", arguments[4], "close");
    churn(atoi(arguments[5]), atof(arguments[6]));
  } else if (strcmp(mode, "hold") == 0) {
    write_request("/json", arguments[4], "keep-alive");
    hold(atoi(arguments[5]));
  } else if (strcmp(mode, "events") == 0) {
    write_request("/events", arguments[4], "keep-alive");
    events(atof(arguments[5]));
  } else {
    return 2;
  }
  return 0;
}
