/*
 * azure/token.c - one token and the thread that fetches it. The thread starts with the first
 * request that wants one (a daemon forks before) and sleeps between renewals. `lock` guards all
 * that changes; nobody holds it while a credential is asked.
 */
#include "batch/azure/token.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "batch/azure/entra_int.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "batch/base/random.h"

#define RENEW_MARGIN_MS (UINT64_C(300) * 1000)
#define RETRY_BASE_MS 1000
#define RETRY_CAP_MS 60000
/* A token that is refused so soon after it was made would be refused again. */
#define REFUSED_YOUNG_MS 2000
#define REFUSED_PAUSE_MS 30000

static const struct {
	enum adafs_entra_kind kind;
	const char *name;
	entra_fetch *fetch;
} chain[] = {
	{ ADAFS_ENTRA_ENVIRONMENT, "environment", entra_fetch_environment },
	{ ADAFS_ENTRA_WORKLOAD, "workload identity", entra_fetch_workload },
	{ ADAFS_ENTRA_MANAGED, "managed identity", entra_fetch_managed },
	{ ADAFS_ENTRA_CLI, "az command line", entra_fetch_cli },
};

struct adafs_token {
	atomic_uint refs;
	struct adafs_http *http; /* borrowed */
	struct adafs_entra settings;
	struct adafs_entra_resource resource;
	int stop_fd;       /* readable: the thread is to end */
	atomic_int asking; /* the one of chain that is asked now or was last */

	struct adafs_mutex lock;     /* rank ADAFS_RANK_LEAF */
	struct adafs_cond asked_for; /* or stopping */
	struct adafs_cond settled;   /* a fetch has ended */
	pthread_t thread;
	bool running, stopping, asked, fetching;
	char *value;                            /* "Bearer ..."; NULL: none */
	uint64_t made_ms, renew_ms, expires_ms; /* boot time */
	uint64_t refused_ms;                    /* when a young one was refused; 0: never */
	uint64_t retry_ms;                      /* not before */
	unsigned n_failures;                    /* in a row */
	struct adafs_err failure;               /* of the last fetch */
	int source;                             /* in chain; -1: none yet */
	char skipped[768];                      /* why those before it were passed over */
};

/* Goes on while the machine sleeps, as the token's life does. */
static uint64_t boot_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

/* --- the object --------------------------------------------------------------------------- */

static void token_free(struct adafs_token *t)
{
	if (t->stop_fd >= 0)
		close(t->stop_fd);
	wipe(&t->value);
	adafs_entra_clear(&t->settings);
	adafs_cond_clear(&t->asked_for);
	adafs_cond_clear(&t->settled);
	adafs_mutex_clear(&t->lock);
	free(t);
}

struct adafs_token *adafs_token_new(struct adafs_http *http, const struct adafs_entra *settings,
				    const struct adafs_entra_resource *resource,
				    struct adafs_err *reterr)
{
	struct adafs_token *t = calloc(1, sizeof(*t));
	if (!t) {
		adafs_err_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	atomic_init(&t->refs, 1);
	adafs_mutex_init(&t->lock, ADAFS_RANK_LEAF);
	adafs_cond_init(&t->asked_for);
	adafs_cond_init(&t->settled);
	t->http = http;
	t->resource = *resource;
	t->source = -1;
	t->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (t->stop_fd < 0 || adafs_entra_copy(&t->settings, settings) < 0) {
		token_free(t);
		adafs_err_set(reterr, -ENOMEM, "out of memory for a token");
		return NULL;
	}
	return t;
}

struct adafs_token *adafs_token_ref(struct adafs_token *t)
{
	if (t)
		atomic_fetch_add(&t->refs, 1);
	return t;
}

void adafs_token_unref(struct adafs_token *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	adafs_mutex_lock(&t->lock);
	bool running = t->running;
	t->stopping = true;
	adafs_cond_signal(&t->asked_for);
	adafs_mutex_unlock(&t->lock);
	if (running) {
		const uint64_t one = 1;
		if (write(t->stop_fd, &one, sizeof(one)) < 0)
			adafs_log(WARN, "azure", "the token's thread cannot be told to end");
		pthread_join(t->thread, NULL);
	}
	token_free(t);
}

/* --- fetching, in the thread -------------------------------------------------------------- */

static void add_skipped(char *out, size_t size, const char *name, const char *why)
{
	size_t n = strlen(out);
	snprintf(out + n, size - n, "%s%s: %s", n ? "; " : "", name, why);
}

static int fetch_by(const struct entra_call *call, size_t i, struct entra_answer *ret,
		    struct adafs_err *reterr)
{
	int rc = chain[i].fetch(call, ret, reterr);
	if (rc == 0 && ret->lifetime_s <= 0)
		rc = adafs_err_set(reterr, -EACCES,
				   "the token has expired already: is this machine's clock right?");
	if (rc < 0 && rc != -ENODATA)
		adafs_err_prefix(reterr, "Entra ID, %s", chain[i].name);
	return rc;
}

/*
 * Ask the chosen credential, or one after the other until one is there. The one that was is asked
 * from then on: a metadata service that is slow once must not make this mount somebody else.
 */
static int fetch(struct adafs_token *t, int known, struct entra_answer *ret, int *ret_source,
		 char *skipped, size_t size, struct adafs_err *reterr)
{
	struct entra_call call = { .http = t->http,
				   .settings = &t->settings,
				   .resource = t->resource,
				   .in_chain = t->settings.kind == ADAFS_ENTRA_AUTO && known < 0,
				   .stop_fd = t->stop_fd };
	*skipped = 0;
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(chain); i++) {
		struct adafs_err err = { 0 };
		if (t->settings.kind != ADAFS_ENTRA_AUTO && t->settings.kind != chain[i].kind)
			continue;
		if (known >= 0 && known != (int)i)
			continue;
		atomic_store(&t->asking, (int)i);
		int rc = fetch_by(&call, i, ret, &err);
		if (rc == 0) {
			*ret_source = (int)i;
			return 0;
		}
		/*
		 * One that is there and is refused is not passed over: the next would be another.
		 */
		if (rc != -ENODATA)
			return adafs_err_copy(reterr, &err);
		add_skipped(skipped, size, chain[i].name, err.msg);
	}
	return adafs_err_set(reterr, -EACCES,
			     "no credential of Entra ID is here (%.420s): run 'az login', or set "
			     "another as adafs(1) says",
			     skipped);
}

static void keep_locked(struct adafs_token *t, const struct entra_answer *a)
	ADAFS_REQUIRES(&t->lock)
{
	uint64_t now = boot_ms(), life_ms = a->lifetime_s > 0 ? (uint64_t)a->lifetime_s * 1000 : 0;
	uint64_t margin_ms = life_ms / 2 < RENEW_MARGIN_MS ? life_ms / 2 : RENEW_MARGIN_MS;
	char *value = adafs_fmt("Bearer %s", a->token);
	if (!value) {
		adafs_err_set(&t->failure, -ENOMEM, "out of memory for a token");
		return;
	}
	wipe(&t->value);
	t->value = value;
	t->made_ms = now;
	t->expires_ms = now + life_ms;
	t->renew_ms = t->expires_ms - margin_ms;
	t->n_failures = 0;
	t->retry_ms = 0;
	t->failure = (struct adafs_err){ 0 };
}

/*
 * What a request ends with that gets no token. A file of the credential that is missing must not
 * look like a blob that is: whoever asks would take it for deleted.
 */
static int request_errno(int rc)
{
	switch (rc) {
	case -EAGAIN:
	case -ECANCELED:
	case -EHOSTDOWN:
	case -EHOSTUNREACH:
	case -ENOMEM:
	case -ETIMEDOUT:
		return rc;
	default:
		return -EACCES;
	}
}

static void fail_locked(struct adafs_token *t, const struct adafs_err *err) ADAFS_REQUIRES(&t->lock)
{
	unsigned shift = t->n_failures < 6 ? t->n_failures : 6;
	uint32_t pause_ms = RETRY_BASE_MS << shift;
	if (pause_ms > RETRY_CAP_MS)
		pause_ms = RETRY_CAP_MS;
	t->n_failures++;
	t->retry_ms = boot_ms() + pause_ms / 2 + adafs_random_below(pause_ms / 2 + 1);
	t->failure = *err;
	t->failure.rc = request_errno(err->rc);
	adafs_redact(t->failure.msg);
}

/* What the log is told; the sentence is t's, copied under the lock. */
static void log_outcome(const struct adafs_token *t, const struct adafs_err *err, int source,
			int64_t lifetime_s)
{
	if (err->rc < 0)
		adafs_log(WARN, "azure", "no new token for %s: %s", t->resource.resource, err->msg);
	else
		adafs_log(INFO, "azure", "token for %s by %s, good for %lld s",
			  t->resource.resource, chain[source].name, (long long)lifetime_s);
}

static void fetch_once(struct adafs_token *t)
{
	ADAFS_CLEANUP(entra_answer_clear) struct entra_answer answer = { 0 };
	struct adafs_err err = { 0 };
	char skipped[sizeof(t->skipped)];
	int source = -1;
	adafs_mutex_lock(&t->lock);
	int known = t->source;
	adafs_mutex_unlock(&t->lock);
	int rc = fetch(t, known, &answer, &source, skipped, sizeof(skipped), &err);
	adafs_mutex_lock(&t->lock);
	t->fetching = false;
	if (known < 0)
		memcpy(t->skipped, skipped, sizeof(skipped));
	if (rc == 0) {
		keep_locked(t, &answer);
		t->source = source;
	} else {
		fail_locked(t, &err);
	}
	adafs_cond_broadcast(&t->settled);
	adafs_mutex_unlock(&t->lock);
	if (rc != -ECANCELED)
		log_outcome(t, &err, source, answer.lifetime_s);
	adafs_http_wake(t->http);
}

static void *token_main(void *arg)
{
	struct adafs_token *t = arg;
	adafs_mutex_lock(&t->lock);
	while (!t->stopping) {
		if (!t->asked) {
			adafs_cond_wait(&t->asked_for, &t->lock);
			continue;
		}
		t->asked = false;
		t->fetching = true;
		adafs_mutex_unlock(&t->lock);
		fetch_once(t);
		adafs_mutex_lock(&t->lock);
	}
	adafs_mutex_unlock(&t->lock);
	return NULL;
}

/* Have a token fetched unless that is under way or would come too soon after a failure. */
static void ask_locked(struct adafs_token *t, uint64_t now) ADAFS_REQUIRES(&t->lock)
{
	if (t->asked || t->fetching || t->stopping || now < t->retry_ms)
		return;
	if (!t->running) {
		/* Signals are for the threads of the filesystem. */
		sigset_t all, old;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		int rc = pthread_create(&t->thread, NULL, token_main, t);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		if (rc) {
			struct adafs_err err;
			adafs_err_set(&err, -rc, "the token's thread cannot be started: %s",
				      strerror(rc));
			fail_locked(t, &err);
			return;
		}
		pthread_setname_np(t->thread, "adafs-token");
		t->running = true;
	}
	t->asked = true;
	adafs_cond_signal(&t->asked_for);
}

/* --- use ---------------------------------------------------------------------------------- */

static bool good_locked(const struct adafs_token *t, uint64_t now)
{
	return t->value && now < t->expires_ms;
}

static int failure_locked(const struct adafs_token *t, struct adafs_err *reterr)
{
	if (t->failure.rc < 0)
		return adafs_err_copy(reterr, &t->failure);
	return adafs_err_set(reterr, -EACCES, "no token for %s", t->resource.resource);
}

int adafs_token_sign(struct adafs_token *t, struct adafs_http_request *rq, struct adafs_err *reterr)
{
	int rc = 0;
	adafs_mutex_lock(&t->lock);
	uint64_t now = boot_ms();
	bool good = good_locked(t, now);
	if (!good || now >= t->renew_ms)
		ask_locked(t, now);
	if (good)
		rc = adafs_http_headers_set(&rq->headers, "Authorization", t->value);
	else if (t->asked || t->fetching || t->failure.retryable)
		rc = -EAGAIN; /* what passes by itself is waited for, as long as any request waits
			       */
	else
		rc = failure_locked(t, reterr);
	adafs_mutex_unlock(&t->lock);
	if (good && rc < 0)
		return adafs_err_set(reterr, rc, "the token cannot be sent");
	return rc;
}

bool adafs_token_refused(struct adafs_token *t, const struct adafs_http_request *rq)
{
	const char *sent = adafs_http_headers_get(&rq->headers, "Authorization");
	bool again = true;
	adafs_mutex_lock(&t->lock);
	uint64_t now = boot_ms();
	/* One that has been replaced meanwhile needs no new one. */
	if (t->value && sent && strcmp(t->value, sent) == 0) {
		bool young = now - t->made_ms < REFUSED_YOUNG_MS;
		again = !young || !t->refused_ms || now - t->refused_ms >= REFUSED_PAUSE_MS;
		if (again) {
			t->refused_ms = young ? now : t->refused_ms;
			wipe(&t->value);
			ask_locked(t, now);
		}
	}
	adafs_mutex_unlock(&t->lock);
	return again;
}

int adafs_token_wait(struct adafs_token *t, uint32_t timeout_ms, struct adafs_err *reterr)
{
	uint64_t deadline_ms = adafs_clock_mono_ms() + timeout_ms;
	int rc = 0;
	adafs_mutex_lock(&t->lock);
	if (!good_locked(t, boot_ms()))
		ask_locked(t, boot_ms());
	while (rc == 0 && (t->asked || t->fetching) && !good_locked(t, boot_ms()))
		rc = adafs_cond_wait_until(&t->settled, &t->lock, deadline_ms);
	if (good_locked(t, boot_ms()))
		rc = 0;
	else if (rc < 0)
		adafs_err_set(reterr, rc,
			      "no token for %s within %u s: Entra ID, %s has not answered; choose "
			      "another credential with auth=, or wait longer with io_timeout=",
			      t->resource.resource, timeout_ms / 1000,
			      chain[atomic_load(&t->asking)].name);
	else
		rc = failure_locked(t, reterr);
	adafs_mutex_unlock(&t->lock);
	return rc;
}

char *adafs_token_describe(struct adafs_token *t)
{
	adafs_mutex_lock(&t->lock);
	uint64_t now = boot_ms();
	char *text;
	if (good_locked(t, now))
		text = adafs_fmt("Entra ID by %s, token good for %llu min%s%s%s%s%s",
				 chain[t->source].name,
				 (unsigned long long)(t->expires_ms - now) / 60000,
				 *t->skipped ? " (passed over: " : "", t->skipped,
				 *t->skipped ? ")" : "", t->failure.rc < 0 ? "; not renewed: " : "",
				 t->failure.rc < 0 ? t->failure.msg : "");
	else if (t->failure.rc < 0)
		text = strdup(t->failure.msg);
	else
		text = strdup("Entra ID, no token was wanted yet");
	adafs_mutex_unlock(&t->lock);
	return text;
}
