/*
 * blobload - the client of scripts/bench and scripts/bench-emulator where Python would be the
 * bottleneck.
 *
 * usage: blobload get HOST PORT TARGET COUNT LENGTH SIZE
 *        blobload blocks HOST PORT TARGET QUERY FILE BLOCK THREADS
 *        blobload puts HOST PORT TARGET QUERY CLIENTS COUNT SIZE
 *        blobload list HOST PORT TARGET QUERY PREFIX
 *        blobload files FOLDER THREADS COUNT SIZE
 *
 * get: ranged GETs on one connection. blocks: one blob by parallel Put Blocks and a Put Block List.
 * puts: COUNT small blobs by CLIENTS connections. list: every page of a container's blobs below
 * PREFIX, on one connection, forgotten but for the marker. files: the same as files, by create,
 * fsync and rename. Prints the seconds that it took; any answer that is not a success ends it
 * with 1.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define MAX_THREADS 256

struct job {
	const char *host, *target, *query;
	unsigned port, n_threads;
	size_t size, count, length;
	const char *data;
	char *filled; /* data, where fill made it */
	size_t next; /* atomic: the next piece of work */
};

struct connection {
	int fd;
	char head[HEAD_MAX + 1];
	char *sink; /* bodies end here: whole if they fit */
	size_t sink_size;
};

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void dial(const struct job *j, struct connection *c)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)j->port) };
	int on = 1;
	if (inet_pton(AF_INET, j->host, &in.sin_addr) != 1)
		errx(1, "not an IPv4 address: %s", j->host);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&in, sizeof(in)) < 0)
		err(1, "connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->sink_size = 256 * 1024;
	c->sink = malloc(c->sink_size);
	if (!c->sink)
		err(1, "malloc");
}

static void hang_up(struct connection *c)
{
	close(c->fd);
	free(c->sink);
}

static void send_all(int fd, const char *data, size_t len, int flags)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL | flags);
		if (n <= 0)
			err(1, "send");
		data += n;
		len -= (size_t)n;
	}
}

static size_t content_length(const char *head)
{
	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, "content-length:", 15) == 0)
			return strtoull(line + 15, NULL, 10);
	}
	return 0;
}

/* Read one answer, its body into the sink. Returns its length. */
static size_t answer(struct connection *c, int want)
{
	size_t have = 0;
	char *end = NULL;
	while (!end) {
		ssize_t n = recv(c->fd, c->head + have, HEAD_MAX - have, 0);
		if (n <= 0)
			errx(1, "the connection ended");
		have += (size_t)n;
		c->head[have] = 0;
		end = strstr(c->head, "\r\n\r\n");
		if (!end && have == HEAD_MAX)
			errx(1, "headers without end");
	}
	if (atoi(c->head + 9) != want)
		errx(1, "the answer is not %d: %s", want, c->head);
	size_t length = content_length(c->head), got = have - (size_t)(end + 4 - c->head);
	bool fits = length <= c->sink_size;
	memcpy(c->sink, end + 4, got);
	while (got < length) {
		size_t at = fits ? got : 0;
		ssize_t n = recv(c->fd, c->sink + at, c->sink_size - at, 0);
		if (n <= 0)
			errx(1, "the body ended early");
		got += (size_t)n;
	}
	return length;
}

static size_t take_work(struct job *j)
{
	return __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED);
}

static void run_threads(struct job *j, void *(*work)(void *))
{
	pthread_t threads[MAX_THREADS];
	if (j->n_threads > MAX_THREADS)
		errx(1, "at most %d threads", MAX_THREADS);
	for (unsigned i = 0; i < j->n_threads; i++)
		if (pthread_create(&threads[i], NULL, work, j) != 0)
			errx(1, "pthread_create");
	for (unsigned i = 0; i < j->n_threads; i++)
		pthread_join(threads[i], NULL);
}

static void *get_ranges(void *arg)
{
	struct job *j = arg;
	struct connection c;
	size_t places = j->size / j->length;
	uint64_t random = 88172645463325252ULL; /* the same places for every server */
	dial(j, &c);
	for (size_t i = 0; i < j->count; i++) {
		char head[HEAD_MAX];
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		size_t off = random % places * j->length;
		int n = snprintf(head, sizeof(head),
				 "GET %s HTTP/1.1\r\nHost: %s:%u\r\nRange: bytes=%zu-%zu\r\n"
				 "x-ms-version: 2021-12-02\r\n\r\n",
				 j->target, j->host, j->port, off, off + j->length - 1);
		send_all(c.fd, head, (size_t)n, 0);
		if (answer(&c, 206) != j->length)
			errx(1, "a range of another length");
	}
	hang_up(&c);
	return NULL;
}

static void block_id(size_t index, char out[16])
{
	/* Base64 of twelve digits is four letters for every three. */
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char digits[13];
	snprintf(digits, sizeof(digits), "%012zu", index % 1000000000000);
	for (int i = 0; i < 4; i++) {
		const unsigned char *d = (const unsigned char *)digits + 3 * i;
		unsigned v = (unsigned)d[0] << 16 | (unsigned)d[1] << 8 | d[2];
		out[4 * i] = letters[v >> 18];
		out[4 * i + 1] = letters[v >> 12 & 63];
		out[4 * i + 2] = letters[v >> 6 & 63];
		out[4 * i + 3] = letters[v & 63];
	}
}

static void put(struct job *j, struct connection *c, const char *target, const char *query,
		const char *data, size_t len)
{
	char head[HEAD_MAX];
	int n = snprintf(head, sizeof(head),
			 "PUT %s?%s%s HTTP/1.1\r\nHost: %s:%u\r\nContent-Length: %zu\r\n"
			 "x-ms-version: 2021-12-02\r\nx-ms-blob-type: BlockBlob\r\n\r\n",
			 target, query, j->query, j->host, j->port, len);
	send_all(c->fd, head, (size_t)n, len ? MSG_MORE : 0);
	send_all(c->fd, data, len, 0);
	answer(c, 201);
}

static void *put_blocks(void *arg)
{
	struct job *j = arg;
	struct connection c;
	dial(j, &c);
	for (size_t i; (i = take_work(j)) < j->count;) {
		char id[17] = "", query[64];
		size_t off = i * j->length;
		block_id(i, id);
		snprintf(query, sizeof(query), "comp=block&blockid=%s&", id);
		put(j, &c, j->target, query, j->data + off,
		    j->size - off < j->length ? j->size - off : j->length);
	}
	hang_up(&c);
	return NULL;
}

static void put_list(struct job *j)
{
	struct connection c;
	size_t room = j->count * 64 + 128, len = 0;
	char *xml = malloc(room);
	if (!xml)
		err(1, "malloc");
	len += (size_t)snprintf(xml, room, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
	for (size_t i = 0; i < j->count; i++) {
		char id[17] = "";
		block_id(i, id);
		len += (size_t)snprintf(xml + len, room - len, "<Latest>%s</Latest>", id);
	}
	len += (size_t)snprintf(xml + len, room - len, "</BlockList>");
	dial(j, &c);
	put(j, &c, j->target, "comp=blocklist&", xml, len);
	hang_up(&c);
	free(xml);
}

static void *put_small(void *arg)
{
	struct job *j = arg;
	struct connection c;
	dial(j, &c);
	for (size_t i; (i = take_work(j)) < j->count;) {
		char target[1024];
		snprintf(target, sizeof(target), "%s%08zu", j->target, i);
		put(j, &c, target, "", j->data, j->size);
	}
	hang_up(&c);
	return NULL;
}

/* One page into c->sink. Returns the next marker (free() it), NULL at the last page. */
static char *list_page(struct job *j, struct connection *c, const char *prefix, const char *marker)
{
	char head[HEAD_MAX];
	int n = snprintf(
		head, sizeof(head),
		"GET %s?restype=container&comp=list&prefix=%s&delimiter=/&marker=%s&%s HTTP/1.1\r\n"
		"Host: %s:%u\r\nx-ms-version: 2021-12-02\r\n\r\n",
		j->target, prefix, marker, j->query, j->host, j->port);
	send_all(c->fd, head, (size_t)n, 0);
	size_t length = answer(c, 200);
	if (length > c->sink_size || strstr(c->head, "chunked"))
		errx(1, "a page of %zu bytes, or of unknown length", length);
	const char *found = memmem(c->sink, length, "<NextMarker>", 12);
	if (!found || found[12] == '<')
		return NULL;
	char *next = calloc(3, HEAD_MAX / 4), *out = next;
	for (found += 12; next && *found != '<' && out < next + HEAD_MAX / 2; found++)
		out += sprintf(out, isalnum((unsigned char)*found) ? "%c" : "%%%02X",
			       (unsigned char)*found);
	return next;
}

static void list(struct job *j, const char *prefix)
{
	struct connection c;
	char *marker = strdup("");
	dial(j, &c);
	c.sink_size = 64 << 20;
	free(c.sink);
	c.sink = malloc(c.sink_size);
	if (!c.sink)
		err(1, "malloc");
	while (marker) {
		char *next = list_page(j, &c, prefix, marker);
		free(marker);
		marker = next;
	}
	hang_up(&c);
}

static void *write_small(void *arg)
{
	struct job *j = arg;
	for (size_t i; (i = take_work(j)) < j->count;) {
		char temporary[1024], path[1024];
		snprintf(path, sizeof(path), "%s/%08zu", j->target, i);
		snprintf(temporary, sizeof(temporary), "%s/.%08zu", j->target, i);
		int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, j->data, j->size) != (ssize_t)j->size || fsync(fd) < 0 ||
		    close(fd) < 0 || rename(temporary, path) < 0)
			err(1, "%s", path);
	}
	return NULL;
}

static void map_file(struct job *j, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		err(1, "%s", path);
	j->size = (size_t)st.st_size;
	j->data = mmap(NULL, j->size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (j->data == MAP_FAILED)
		err(1, "%s", path);
	close(fd);
}

static size_t number(const char *text)
{
	char *end;
	size_t n = strtoull(text, &end, 10);
	if (!*text || *end)
		errx(1, "not a number: %s", text);
	return n;
}

static void fill(struct job *j)
{
	char *data = malloc(j->size + 1);
	if (!data)
		err(1, "malloc");
	for (size_t i = 0; i < j->size; i++)
		data[i] = (char)(i * 2654435761u >> 13);
	j->data = j->filled = data;
}

int main(int argc, char **argv)
{
	struct job j = { .n_threads = 1, .query = "" };
	const char *mode = argc > 1 ? argv[1] : "";
	bool http = strcmp(mode, "files") != 0;
	if (!(strcmp(mode, "files") == 0 && argc == 6) &&
	    !(strcmp(mode, "get") == 0 && argc == 8) &&
	    !(strcmp(mode, "blocks") == 0 && argc == 9) &&
	    !(strcmp(mode, "puts") == 0 && argc == 9) && !(strcmp(mode, "list") == 0 && argc == 7))
		errx(2, "usage: blobload get|blocks|puts|list|files ARGUMENTS, see the source");
	if (http) {
		j.host = argv[2];
		j.port = (unsigned)number(argv[3]);
		j.target = argv[4];
	}
	double start;
	if (strcmp(mode, "get") == 0) {
		j.count = number(argv[5]);
		j.length = number(argv[6]);
		j.size = number(argv[7]);
		start = now();
		get_ranges(&j);
	} else if (strcmp(mode, "blocks") == 0) {
		j.query = argv[5];
		map_file(&j, argv[6]);
		j.length = number(argv[7]);
		j.n_threads = (unsigned)number(argv[8]);
		j.count = (j.size + j.length - 1) / j.length;
		start = now();
		run_threads(&j, put_blocks);
		put_list(&j);
	} else if (strcmp(mode, "list") == 0) {
		j.query = argv[5];
		start = now();
		list(&j, argv[6]);
	} else if (strcmp(mode, "puts") == 0) {
		j.query = argv[5];
		j.n_threads = (unsigned)number(argv[6]);
		j.count = number(argv[7]);
		j.size = number(argv[8]);
		fill(&j);
		start = now();
		run_threads(&j, put_small);
	} else {
		j.target = argv[2];
		j.n_threads = (unsigned)number(argv[3]);
		j.count = number(argv[4]);
		j.size = number(argv[5]);
		fill(&j);
		start = now();
		run_threads(&j, write_small);
	}
	printf("%.6f\n", now() - start);
	free(j.filled);
	return 0;
}
