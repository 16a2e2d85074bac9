/*
 * `adafs emulator`: start both services, print their settings, serve until a signal, stop in order.
 */
#include "batch/emulator/emulator.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "batch/base/buf.h"
#include "batch/base/codec.h"
#include "batch/base/log.h"
#include "batch/emulator/batch/batch_service.h"
#include "batch/emulator/blob/blob_service.h"
#include "batch/emulator/emulator_internal.h"
#include "batch/emulator/token.h"
#include "batch/emulator/traps.h"

#define STOP_GRACE_MS 2000
#define GRACE_S 60
#define WANTED_FILES 65536

struct emulator {
	struct emulator_options options;
	struct blob_service *blob;
	struct batch_service *batch;
	struct traps *traps;         /* of both services */
	struct token_issuer *issuer; /* likewise; NULL: no bearer tokens */
	int lock_fd, access_log_fd;
	char *settings; /* owned */
};

/* Secrets are in memory: no core file, no other process of this user looks in. */
static void protect_process(void)
{
	umask(077);
	struct rlimit none = { 0, 0 };
	(void)setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__ /* the leak check attaches to its own process */
	(void)prctl(PR_SET_DUMPABLE, 0);
#endif
}

static void raise_file_limit(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= WANTED_FILES)
		return;
	r.rlim_cur = r.rlim_max < WANTED_FILES ? r.rlim_max : WANTED_FILES;
	(void)setrlimit(RLIMIT_NOFILE, &r);
}

static int open_access_log(struct emulator *e, struct adafs_err *reterr)
{
	const char *path = e->options.access_log;
	if (!path)
		return 0;
	e->access_log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (e->access_log_fd < 0)
		return adafs_err_set(reterr, -errno, "cannot open '%s': %s", path, strerror(errno));
	return 0;
}

/* A kept port that is taken now cannot be replaced silently: queued tasks hold URLs with it. */
static int explain_port(int rc, const char *option, const struct emulator_address *a,
			struct adafs_err *reterr)
{
	if (rc == -EADDRINUSE)
		return adafs_err_prefix(reterr,
					"end what uses port %u, or choose another one by --%s",
					a->port, option);
	return rc;
}

static int start_blob(struct emulator *e, struct adafs_err *reterr)
{
	const struct emulator_options *o = &e->options;
	ADAFS_FREE char *dir = adafs_fmt("%s/blob", o->dir);
	if (!dir)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	struct blob_service_config config = { .dir = dir,
					      .account = o->account,
					      .key = o->key,
					      .host = o->blob.host,
					      .port = o->blob.port,
					      .traps = e->traps,
					      .issuer = e->issuer,
					      .no_shared_key = o->no_shared_key,
					      .access_log_fd = e->access_log_fd };
	int rc = blob_service_new(&config, &e->blob, reterr);
	return explain_port(rc, "blob", &o->blob, reterr);
}

static int start_batch(struct emulator *e, struct adafs_err *reterr)
{
	const struct emulator_options *o = &e->options;
	ADAFS_FREE uint8_t *key = NULL;
	size_t key_len = 0;
	int rc = adafs_base64_decode(o->key, strlen(o->key), &key, &key_len);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "the account key is not base64");
	struct batch_service_config config = { .dir = o->dir,
					       .account = o->account,
					       .key = key,
					       .key_len = key_len,
					       .host = o->batch.host,
					       .port = o->batch.port,
					       .nodes = o->nodes,
					       .slots = o->slots,
					       .traps = e->traps,
					       .issuer = e->issuer,
					       .no_shared_key = o->no_shared_key,
					       .containers = o->containers,
					       .blob_authority = blob_service_authority(e->blob),
					       .access_log_fd = e->access_log_fd };
	rc = batch_service_new(&config, &e->batch, reterr);
	explicit_bzero(key, key_len);
	return explain_port(rc, "batch", &o->batch, reterr);
}

/* The endpoint is a URL; the state file keeps HOST:PORT. */
static const char *authority_of(const char *url)
{
	const char *host = strstr(url, "://");
	return host ? host + 3 : url;
}

static int start_services(struct emulator *e, struct adafs_err *reterr)
{
	int rc = start_blob(e, reterr);
	if (rc == 0)
		rc = start_batch(e, reterr);
	if (rc < 0)
		return rc;
	const char *blob = blob_service_authority(e->blob),
		   *batch = batch_service_endpoint(e->batch);
	/* The addresses are kept before a task can run: its URLs must work after a crash. */
	rc = emulator_state_save(&e->options, blob, authority_of(batch), reterr);
	if (rc == 0)
		rc = blob_service_start(e->blob, reterr);
	if (rc == 0)
		rc = batch_service_start(e->batch, reterr);
	if (rc < 0)
		return rc;
	e->settings = emulator_settings(&e->options, blob, batch);
	if (!e->settings)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	return emulator_settings_write(e->options.dir, e->settings, reterr);
}

static int set_traps(struct emulator *e, struct adafs_err *reterr)
{
	e->traps = traps_new();
	if (!e->traps)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	return e->options.traps ? traps_set(e->traps, e->options.traps, reterr) : 0;
}

static int emulator_start(struct emulator *e, struct adafs_err *reterr)
{
	int rc = set_traps(e, reterr);
	if (rc < 0)
		return rc;
	if (e->options.issuer)
		rc = token_issuer_new(e->options.issuer, &e->issuer, reterr);
	if (rc < 0)
		return rc;
	e->lock_fd = emulator_state_lock(e->options.dir, reterr);
	if (e->lock_fd < 0)
		return e->lock_fd;
	/* Those that a killed predecessor left would send clients here before anything listens. */
	emulator_settings_remove(e->options.dir);
	rc = emulator_state_load(&e->options, reterr);
	if (rc == 0)
		rc = open_access_log(e, reterr);
	return rc == 0 ? start_services(e, reterr) : rc;
}

/* Batch first: its tasks talk to Blob until they end. */
static void emulator_stop(struct emulator *e)
{
	if (e->settings)
		emulator_settings_remove(e->options.dir);
	if (e->batch)
		batch_service_stop(e->batch);
	if (e->blob)
		blob_service_stop(e->blob, STOP_GRACE_MS);
	batch_service_free(e->batch);
	blob_service_free(e->blob);
	traps_free(e->traps);
	token_issuer_free(e->issuer);
	if (e->settings)
		explicit_bzero(e->settings, strlen(e->settings));
	free(e->settings);
	emulator_options_clear(&e->options);
	if (e->access_log_fd >= 0)
		close(e->access_log_fd);
	if (e->lock_fd >= 0)
		close(e->lock_fd);
}

/* The file locked for us alone when no mount holds it and no job is active, else -1. */
static int lock_unused(struct emulator *e)
{
	int fd = open(e->options.while_used, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) < 0 || batch_service_busy(e->batch))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* The signal that asks for the end, or 0 when nobody uses it any more. */
static int wait_for_end(struct emulator *e, const sigset_t *set)
{
	const struct timespec period = { .tv_sec = 1 };
	unsigned grace_s = e->options.grace_s ? e->options.grace_s : GRACE_S, unused_s = 0;
	if (!e->options.while_used) {
		int sig;
		while (sigwait(set, &sig) != 0)
			;
		return sig;
	}
	for (;;) {
		int sig = sigtimedwait(set, NULL, &period);
		if (sig > 0)
			return sig;
		int fd = errno == EAGAIN ? lock_unused(e) : -1;
		unused_s = fd >= 0 ? unused_s + 1 : 0;
		/* The lock is kept until exit: a mount that comes now waits for the end and starts
		 * another. */
		if (unused_s >= grace_s)
			return 0;
		if (fd >= 0)
			close(fd);
	}
}

static int serve(struct emulator *e)
{
	struct adafs_err err = { 0 };
	sigset_t stop;
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	/* Blocked before any thread exists, so that only sigwait takes them. */
	pthread_sigmask(SIG_BLOCK, &stop, NULL);
	signal(SIGPIPE, SIG_IGN);
	int rc = emulator_start(e, &err);
	if (rc < 0) {
		fprintf(stderr, "adafs emulator: %s\n", err.msg);
		emulator_stop(e);
		return 1;
	}
	fputs(e->settings, stdout);
	fflush(stdout);
	adafs_log(INFO, "emulator", "serving '%s': Blob on %s, Batch on %s", e->options.dir,
		  blob_service_authority(e->blob), batch_service_endpoint(e->batch));
	int sig = wait_for_end(e, &stop);
	adafs_log(INFO, "emulator", "stopping: %s", sig ? strsignal(sig) : "nobody uses it");
	emulator_stop(e);
	return 0;
}

int adafs_emulator_main(int argc, char **argv)
{
	struct adafs_err err = { 0 };
	struct emulator e = { .lock_fd = -1, .access_log_fd = -1 };
	int rc = emulator_options_parse(argc, argv, &e.options, &err);
	if (rc == 0 && e.options.help) {
		fputs(emulator_usage(), stdout);
		emulator_options_clear(&e.options);
		return 0;
	}
	if (rc == 0 && e.options.log_level)
		rc = adafs_log_set_levels(e.options.log_level, &err);
	if (rc < 0) {
		fprintf(stderr, "adafs emulator: %s\n", err.msg);
		emulator_options_clear(&e.options);
		return 2;
	}
	protect_process();
	raise_file_limit();
	return serve(&e);
}
