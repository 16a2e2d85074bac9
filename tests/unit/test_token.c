/*
 * A source of tokens against a scripted issuer: Azure Arc's challenge, waiting, failing, refusals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/stat.h>

#include "batch/azure/token.h"
#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/file.h"
#include "scripted_server.h"

struct fixture {
	struct server server;
	struct adafs_http *http;
	struct adafs_entra settings;
	struct adafs_token *token;
	char dir[64];
	struct step steps[8];
	char *replies[8];
	size_t n;
};

static void add(struct fixture *f, const char *head, const char *body)
{
	f->replies[f->n] =
		adafs_fmt("HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", head, strlen(body), body);
	f->steps[f->n] = (struct step){ REPLY, f->replies[f->n] };
	f->n++;
}

static void begin(struct fixture *f, enum adafs_entra_kind kind, uint32_t io_timeout_ms)
{
	const struct adafs_http_config config = { .io_timeout_ms = io_timeout_ms };
	struct adafs_err err = { 0 };
	snprintf(f->dir, sizeof(f->dir), "/tmp/adafs-test-token-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	server_start(&f->server, f->steps, f->n);
	f->http = adafs_http_new(&config, NULL);
	assert_int_equal(adafs_http_start(f->http, &err), 0);
	f->settings.kind = kind;
	f->settings.tenant = strdup("t");
	f->settings.client = strdup("c");
	f->settings.secret = strdup("s");
	f->settings.authority = strdup(f->server.url);
}

static void begin_token(struct fixture *f)
{
	const struct adafs_entra_resource resource = adafs_entra_storage("");
	f->token = adafs_token_new(f->http, &f->settings, &resource, NULL);
	assert_non_null(f->token);
}

static void end(struct fixture *f)
{
	adafs_token_unref(f->token);
	adafs_http_stop(f->http);
	adafs_http_free(f->http);
	adafs_entra_clear(&f->settings);
	server_stop(&f->server);
	adafs_remove_tree(f->dir);
	for (size_t i = 0; i < f->n; i++)
		free(f->replies[i]);
}

static int sign(void *arg, struct adafs_http_request *rq, struct adafs_err *reterr)
{
	return adafs_token_sign(arg, rq, reterr);
}

static bool renew(void *arg, const struct adafs_http_request *rq)
{
	return adafs_token_refused(arg, rq);
}

/* One request that needs the token. */
static int ask(struct fixture *f, struct adafs_err *err)
{
	struct adafs_http_request *rq =
		adafs_http_request_new("GET", adafs_fmt("%s/blob", f->server.url));
	rq->operation = "Get Blob";
	rq->sign = sign;
	rq->renew = renew;
	rq->sign_arg = f->token;
	return adafs_http_perform(f->http, rq, NULL, err);
}

#define TOKEN(text) "{\"access_token\":\"" text "\",\"expires_in\":3600}"

static void test_one_token_for_many(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct adafs_err err = { 0 };
	char value[256];
	add(&f, "200 OK", TOKEN("one"));
	add(&f, "200 OK", "");
	add(&f, "200 OK", "");
	begin(&f, ADAFS_ENTRA_ENVIRONMENT, 8000);
	begin_token(&f);
	char *text = adafs_token_describe(f.token);
	assert_string_equal(text, "Entra ID, no token was wanted yet");
	free(text);
	assert_int_equal(ask(&f, &err), 0);
	assert_int_equal(ask(&f, &err), 0);
	assert_int_equal(f.server.n_seen, 3);
	assert_string_equal(
		f.server.seen[0].body,
		"client_id=c&scope=https%3A%2F%2Fstorage.azure.com%2F.default&grant_type="
		"client_credentials&client_secret=s");
	assert_string_equal(seen_header(&f.server.seen[1], "Authorization", value), "Bearer one");
	end(&f);
}

/* A service that takes no token gets one new one, and no more. */
static void test_refused(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct adafs_err err = { 0 };
	char value[256];
	add(&f, "200 OK", TOKEN("one"));
	add(&f, "401 Unauthorized", "");
	add(&f, "200 OK", TOKEN("two"));
	add(&f, "401 Unauthorized", "");
	begin(&f, ADAFS_ENTRA_ENVIRONMENT, 8000);
	begin_token(&f);
	assert_int_equal(ask(&f, &err), -EACCES);
	assert_int_equal(f.server.n_seen, 4);
	assert_string_equal(seen_header(&f.server.seen[3], "Authorization", value), "Bearer two");
	/* The second was young when it was refused too: the next request asks for no third. */
	assert_int_equal(ask(&f, &err), -EACCES);
	assert_int_equal(f.server.n_seen, 5);
	end(&f);
}

/* Requests fail with the issuer's sentence, and the issuer is not asked for each of them. */
static void test_failure(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct adafs_err err = { 0 };
	add(&f, "401 Unauthorized",
	    "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000222: The client "
	    "secret has "
	    "expired.\\r\\nTrace ID: 1\"}");
	begin(&f, ADAFS_ENTRA_ENVIRONMENT, 8000);
	begin_token(&f);
	assert_int_equal(ask(&f, &err), -EACCES);
	assert_string_equal(err.msg,
			    "Entra ID, environment: 401 invalid_client: AADSTS7000222: The "
			    "client secret has expired.");
	assert_int_equal(ask(&f, &err), -EACCES);
	assert_int_equal(adafs_token_wait(f.token, 1000, &err), -EACCES);
	assert_int_equal(f.server.n_seen, 1);
	end(&f);
}

static void test_rubbish(void **state)
{
	(void)state;
	static const char *const bodies[] = { "", "[]", "{\"access_token\":7}", "<html>",
					      "{\"access_token\":\"x\",\"expires_in\":\"0\"}" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(bodies); i++) {
		struct fixture f = { 0 };
		struct adafs_err err = { 0 };
		add(&f, "200 OK", bodies[i]);
		begin(&f, ADAFS_ENTRA_ENVIRONMENT, 8000);
		begin_token(&f);
		assert_true(ask(&f, &err) < 0);
		assert_non_null(strstr(err.msg, "Entra ID"));
		assert_int_equal(f.server.n_seen, 1);
		end(&f);
	}
}

/* What waits for a token ends within io_timeout, and the source goes away while it is asked. */
static void test_hang(void **state)
{
	(void)state;
	struct fixture f = { .steps = { { HANG, NULL } }, .n = 1 };
	struct adafs_err err = { 0 };
	begin(&f, ADAFS_ENTRA_ENVIRONMENT, 1000);
	begin_token(&f);
	uint64_t began = adafs_clock_mono_ms();
	assert_int_equal(ask(&f, &err), -ETIMEDOUT);
	assert_true(adafs_clock_mono_ms() - began < 5000);
	end(&f);
}

/* --- Azure Arc ---------------------------------------------------------------------------- */

static void begin_arc(struct fixture *f)
{
	begin(f, ADAFS_ENTRA_MANAGED, 8000);
	f->settings.endpoint = adafs_fmt("%s/metadata/identity/oauth2/token", f->server.url);
	f->settings.arc = strdup(f->server.url);
	f->settings.arc_keys = strdup(f->dir);
	begin_token(f);
}

static void test_arc(void **state)
{
	(void)state;
	struct fixture f = { 0 };
	struct adafs_err err = { 0 };
	char value[256];
	add(&f, "401 Unauthorized", "{}"); /* replaced below: it names the key file */
	add(&f, "200 OK", TOKEN("arc"));
	add(&f, "200 OK", "");
	begin_arc(&f);
	char *path = adafs_fmt("%s/1234.key", f.dir);
	assert_int_equal(adafs_file_write_atomic(path, "the-key", 7, 0600, NULL), 0);
	free(f.replies[0]);
	f.replies[0] = adafs_fmt("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=%s\r\n"
				 "Content-Length: 0\r\n\r\n",
				 path);
	f.steps[0].reply = f.replies[0];
	free(path);
	assert_int_equal(ask(&f, &err), 0);
	assert_int_equal(f.server.n_seen, 3);
	const char *line = "GET /metadata/identity/oauth2/token?api-version=2019-11-01&resource="
			   "https%3A%2F%2Fstorage.azure.com%2F HTTP/1.1\r\n";
	for (size_t i = 0; i < 2; i++) {
		assert_memory_equal(f.server.seen[i].head, line, strlen(line));
		assert_string_equal(seen_header(&f.server.seen[i], "Metadata", value), "true");
	}
	assert_null(seen_header(&f.server.seen[0], "Authorization", value));
	assert_string_equal(seen_header(&f.server.seen[1], "Authorization", value),
			    "Basic the-key");
	assert_string_equal(seen_header(&f.server.seen[2], "Authorization", value), "Bearer arc");
	end(&f);
}

/* Whoever listens at the port does not get files from elsewhere. */
static void test_arc_key_elsewhere(void **state)
{
	(void)state;
	static const char *const names[] = { "/etc/passwd", "%s/../x.key", "%s/sub/x.key",
					     "%s/x.txt",    "%s/.key",     "%s" };
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++) {
		struct fixture f = { 0 };
		struct adafs_err err = { 0 };
		add(&f, "401 Unauthorized", "{}");
		begin_arc(&f);
		ADAFS_FREE char *name = NULL;
		name = strncmp(names[i], "%s", 2) == 0 ? adafs_fmt("%s%s", f.dir, names[i] + 2)
						       : strdup(names[i]);
		free(f.replies[0]);
		f.replies[0] =
			adafs_fmt("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=%s"
				  "\r\nContent-Length: 0\r\n\r\n",
				  name);
		f.steps[0].reply = f.replies[0];
		assert_int_equal(ask(&f, &err), -EACCES);
		assert_non_null(strstr(err.msg, "outside"));
		assert_int_equal(f.server.n_seen, 1);
		end(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_token_for_many),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_hang),
		cmocka_unit_test(test_arc),
		cmocka_unit_test(test_arc_key_elsewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
