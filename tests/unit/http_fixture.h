/*
 * An HTTP loop and a Blob client against a scripted server: what tests of both begin and end with.
 */
#ifndef TEST_HTTP_FIXTURE_H
#define TEST_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "batch/azure/blob.h"
#include "batch/azure/http.h"
#include "scripted_server.h"
#define KEY \
	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define OK_HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define CREATED "HTTP/1.1 201 Created\r\nETag: \"0x8D1\"\r\nContent-Length: 0\r\n\r\n"
#define BUSY "HTTP/1.1 503 Busy\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\n\r\n"
struct fixture {
	struct server server;
	struct adafs_http *http;
	struct adafs_storage_account account;
	struct adafs_blob_client *blob;
};

static inline void begin_with(struct fixture *f, const struct step *steps, size_t n,
			      uint32_t io_timeout_ms, uint32_t connections)
{
	const struct adafs_http_config config = { .io_timeout_ms = io_timeout_ms,
						  .max_connections_per_host = connections };
	char endpoint[128];
	*f = (struct fixture){ 0 };
	server_start(&f->server, steps, n);
	f->http = adafs_http_new(&config, NULL);
	assert_non_null(f->http);
	assert_int_equal(adafs_http_start(f->http, NULL), 0);
	snprintf(endpoint, sizeof(endpoint), "%s/acct", f->server.url);
	assert_int_equal(adafs_storage_account_set(&f->account, "acct", endpoint, KEY, NULL, NULL),
			 0);
	f->blob = adafs_blob_client_new(f->http, &f->account, NULL);
	assert_non_null(f->blob);
}

#define BEGIN(f, ...)                                        \
	static const struct step steps_[] = { __VA_ARGS__ }; \
	struct fixture f;                                    \
	begin_with(&f, steps_, ADAFS_ARRAY_SIZE(steps_), 8000, 0)

static inline void end(struct fixture *f)
{
	adafs_http_stop(f->http);
	adafs_http_stop(f->http);
	adafs_blob_client_free(f->blob);
	adafs_http_free(f->http);
	adafs_storage_account_clear(&f->account);
	server_stop(&f->server);
}

static inline struct adafs_http_request *request(const struct fixture *f, const char *method,
						 const char *path)
{
	struct adafs_http_request *rq =
		adafs_http_request_new(method, adafs_fmt("%s%s", f->server.url, path));
	assert_non_null(rq);
	rq->operation = "Test";
	return rq;
}

static inline uint64_t retries(const struct fixture *f)
{
	struct adafs_http_stats s;
	adafs_http_get_stats(f->http, &s);
	return s.retries;
}

static inline void assert_header(const struct fixture *f, size_t i, const char *name,
				 const char *value)
{
	char text[256];
	assert_true(i < f->server.n_seen);
	const char *found = seen_header(&f->server.seen[i], name, text);
	if (!value)
		assert_null(found);
	else
		assert_string_equal(found ? found : "(absent)", value);
}

#endif
