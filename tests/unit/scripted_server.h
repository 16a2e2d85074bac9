/*
 * A scripted HTTP server on loopback for component tests: each request takes the next step of a
 * script, whatever connection it comes on, and is kept for the test to look at.
 */
#ifndef ADAFS_TESTS_SCRIPTED_SERVER_H
#define ADAFS_TESTS_SCRIPTED_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_MAX 512

enum action {
	REPLY,       /* send the reply, keep the connection */
	REPLY_CLOSE, /* send the reply (maybe too short) and close */
	LOSE,        /* close without a reply */
	RESET,       /* reset the connection without a reply */
	HANG,        /* say nothing until the server stops or is resumed */
	TRICKLE,     /* send the reply byte by byte, 25 ms apart */
};

struct step {
	enum action action;
	const char *reply;
};

struct seen {
	char *head; /* request line and headers */
	char *body;
	size_t body_len;
};

struct server {
	int listener, stop_fd;
	char url[64]; /* "http://127.0.0.1:PORT" */
	pthread_t acceptor;
	pthread_mutex_t lock;
	const struct step *steps; /* the last one repeats */
	size_t n_steps, at;
	struct seen seen[SERVER_MAX];
	size_t n_seen;
	unsigned connections, active, max_active;
	bool slow_reader; /* takes bodies in small pieces through a small buffer */
	bool heads_apart; /* HEAD / is a probe: answered at once or not at all, without a step */
	bool probes_answered;
	unsigned n_probes;
	pthread_t threads[SERVER_MAX];
	size_t n_threads;
};

struct connection {
	struct server *server;
	int fd;
};

/* Wait for bytes; false: the server stops. */
static bool server_readable(struct server *s, int fd)
{
	struct pollfd p[2] = { { .fd = s->stop_fd, .events = POLLIN },
			       { .fd = fd, .events = POLLIN } };
	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	return !p[0].revents;
}

static bool server_pause(struct server *s, int ms)
{
	struct pollfd p = { .fd = s->stop_fd, .events = POLLIN };
	return poll(&p, 1, ms) == 0;
}

static const char *seen_header(const struct seen *r, const char *name, char out[256])
{
	size_t len = strlen(name);
	out[0] = 0;
	for (const char *line = strstr(r->head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
			const char *v = line + len + 1;
			v += *v == ' ';
			snprintf(out, 256, "%.*s", (int)strcspn(v, "\r"), v);
			return out;
		}
	}
	return NULL;
}

/* Read one request; false: the connection or the server ends. */
static bool server_read(struct server *s, int fd, struct seen *r)
{
	size_t size = 1 << 16, len = 0;
	char *buf = malloc(size), *end = NULL, text[256];
	while (!end) {
		ssize_t n = server_readable(s, fd) ? recv(fd, buf + len, size - len - 1, 0) : 0;
		if (n <= 0) {
			free(buf);
			return false;
		}
		len += (size_t)n;
		buf[len] = 0;
		end = strstr(buf, "\r\n\r\n");
	}
	size_t head = (size_t)(end - buf) + 4;
	r->head = strndup(buf, head);
	r->body_len = seen_header(r, "Content-Length", text) ? strtoul(text, NULL, 10) : 0;
	r->body = calloc(1, r->body_len + 1);
	size_t got = len - head;
	if (got > r->body_len)
		got = r->body_len;
	memcpy(r->body, buf + head, got);
	free(buf);
	while (got < r->body_len) {
		size_t want = r->body_len - got;
		if (s->slow_reader && server_pause(s, 20) && want > 4096)
			want = 4096;
		ssize_t n = server_readable(s, fd) ? recv(fd, r->body + got, want, 0) : 0;
		if (n <= 0) {
			free(r->head);
			free(r->body);
			return false;
		}
		got += (size_t)n;
	}
	return true;
}

static void server_send(int fd, const char *text)
{
	for (size_t len = strlen(text); len;) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static bool server_trickle(struct server *s, int fd, const char *text)
{
	for (; *text; text++) {
		if (send(fd, text, 1, MSG_NOSIGNAL) != 1 || !server_pause(s, 25))
			return false;
	}
	return true;
}

/* Act on one request; false: close the connection. */
static bool server_act(struct server *s, int fd, struct step step)
{
	const struct linger reset = { .l_onoff = 1 };
	switch (step.action) {
	case REPLY:
		server_send(fd, step.reply);
		return true;
	case REPLY_CLOSE:
		server_send(fd, step.reply);
		return false;
	case TRICKLE:
		return server_trickle(s, fd, step.reply);
	case RESET:
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		return false;
	case HANG:
		server_pause(s, -1);
		return false;
	case LOSE:
		break;
	}
	return false;
}

static bool server_serve(struct server *s, int fd, struct seen *r)
{
	pthread_mutex_lock(&s->lock);
	if (s->heads_apart && strncmp(r->head, "HEAD / ", 7) == 0) {
		bool answer = s->probes_answered;
		s->n_probes++;
		pthread_mutex_unlock(&s->lock);
		free(r->head);
		free(r->body);
		return server_act(
			s, fd,
			answer ? (struct step){ REPLY,
						"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n" }
			       : (struct step){ HANG, NULL });
	}
	struct step step = s->steps[s->at];
	if (s->at + 1 < s->n_steps)
		s->at++;
	if (s->n_seen < SERVER_MAX)
		s->seen[s->n_seen++] = *r;
	if (++s->active > s->max_active)
		s->max_active = s->active;
	pthread_mutex_unlock(&s->lock);
	bool keep = server_act(s, fd, step);
	pthread_mutex_lock(&s->lock);
	s->active--;
	pthread_mutex_unlock(&s->lock);
	return keep;
}

static void *server_connection(void *arg)
{
	struct connection *c = arg;
	struct seen r = { 0 };
	while (server_read(c->server, c->fd, &r) && server_serve(c->server, c->fd, &r))
		;
	close(c->fd);
	free(c);
	return NULL;
}

static void *server_accept(void *arg)
{
	struct server *s = arg;
	while (server_readable(s, s->listener)) {
		int fd = accept(s->listener, NULL, NULL);
		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		struct connection *c = malloc(sizeof(*c));
		*c = (struct connection){ s, fd };
		pthread_mutex_lock(&s->lock);
		s->connections++;
		bool room = s->n_threads < SERVER_MAX;
		if (room)
			pthread_create(&s->threads[s->n_threads++], NULL, server_connection, c);
		pthread_mutex_unlock(&s->lock);
		if (!room) {
			close(fd);
			free(c);
		}
	}
	return NULL;
}

static void server_start(struct server *s, const struct step *steps, size_t n)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	*s = (struct server){ .steps = steps, .n_steps = n };
	pthread_mutex_init(&s->lock, NULL);
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(s->listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(s->listener, 128) < 0 ||
	    getsockname(s->listener, (struct sockaddr *)&a, &len) < 0)
		abort();
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d", ntohs(a.sin_port));
	pthread_create(&s->acceptor, NULL, server_accept, s);
}

/* Go on with another script. */
static inline void server_script(struct server *s, const struct step *steps, size_t n)
{
	pthread_mutex_lock(&s->lock);
	s->steps = steps;
	s->n_steps = n;
	s->at = 0;
	pthread_mutex_unlock(&s->lock);
}

static void server_stop(struct server *s)
{
	if (eventfd_write(s->stop_fd, 1) < 0)
		abort();
	pthread_join(s->acceptor, NULL);
	for (size_t i = 0; i < s->n_threads; i++)
		pthread_join(s->threads[i], NULL);
	for (size_t i = 0; i < s->n_seen; i++) {
		free(s->seen[i].head);
		free(s->seen[i].body);
	}
	close(s->listener);
	close(s->stop_fd);
	pthread_mutex_destroy(&s->lock);
}

#endif
