/* fs/program/check.c - `adafs check`: what a mount would need, tried without mounting. */
#include "fs/program/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/buf.h"
#include "fs/program/commands.h"

/* Signatures are refused from 15 minutes on; what is near is worth a word. */
#define SKEW_WARN_S 60
#define SKEW_FAIL_S 900

bool check_report(enum finding finding, const char *what, char *text)
{
	static const char *const words[] = { "ok", "warn", "FAIL" };

	printf("%-4s %-10s %s\n", words[finding], what, text ? text : "out of memory");
	free(text);
	return finding != FINDING_FAIL;
}

/* How the way to a service is protected. */
static bool check_tls(const char *service, const char *endpoint)
{
	if (strncasecmp(endpoint, "https://", 8) == 0)
		return check_report(FINDING_OK, "tls",
				    adafs_fmt("%s: https, the certificate is verified", service));
	if (adafs_url_is_loopback(endpoint))
		return check_report(FINDING_OK, "tls", adafs_fmt("%s: on this machine", service));
	return check_report(
		FINDING_WARN, "tls",
		adafs_fmt(
			"%s: %s is plain http, so images cross the network in clear text: use https",
			service, endpoint));
}

static bool check_clock(struct fs *fs, const char *service, const char *endpoint)
{
	int64_t skew;

	if (adafs_http_clock_skew(fs->http, endpoint, &skew) < 0)
		return true; /* it did not answer, which was said */
	int64_t off = skew < 0 ? -skew : skew;
	ADAFS_FREE char *text = adafs_fmt("%s: this machine is %lld s %s", service, (long long)off,
					  off == 0   ? "off"
					  : skew > 0 ? "behind"
						     : "ahead");
	if (off < SKEW_WARN_S)
		return check_report(FINDING_OK, "clock", ADAFS_STEAL(text));
	/* adafs signs by the service's clock then; what nodes and others sign still fails. */
	return check_report(
		FINDING_WARN, "clock",
		adafs_fmt("%s%s; set it by NTP (timedatectl set-ntp true)", text ? text : "",
			  off >= SKEW_FAIL_S ? ", which makes SAS and signatures of others fail"
					     : ""));
}

/* With what each service is entered, and why what goes before it was passed over. */
static bool check_blob_credential(struct fs *fs)
{
	struct adafs_err err = { 0 };

	if (adafs_blob_client_ready(fs->blob, &err) == 0)
		return check_report(FINDING_OK, "credential", adafs_blob_client_describe(fs->blob));
	return check_report(FINDING_FAIL, "credential", strdup(err.msg));
}

static bool check_batch_credential(struct fs *fs)
{
	struct adafs_err err = { 0 };

	if (adafs_batch_client_ready(fs->batch, &err) == 0)
		return check_report(FINDING_OK, "credential",
				    adafs_batch_client_describe(fs->batch));
	return check_report(FINDING_FAIL, "credential", strdup(err.msg));
}

/* pipeline NULL: it cannot be had, which was said. */
static bool check_services(struct fs *fs, struct options *o, const struct adafs_pipeline *pipeline)
{
	struct adafs_err err = { 0 };
	struct engine *engine = NULL;

	if (setup_engine(o, &engine, &err) < 0)
		return check_report(FINDING_FAIL, "accounts", strdup(err.msg));
	check_report(FINDING_OK, "accounts",
		     strdup(engine ? "the embedded engine serves what is not configured"
				   : "both services are configured"));
	fs->options = o;
	fs->container = o->container;
	bool good = setup_clients(fs, o, &err) == 0 && adafs_http_start(fs->http, &err) == 0;
	if (good) {
		good = check_tls("Blob", o->storage.endpoint) &&
		       check_tls("Batch", o->batch.endpoint);
		bool blob_good = check_blob_credential(fs), batch_good = check_batch_credential(fs);
		/* What has no credential would only say so again. */
		blob_good = blob_good && check_blob(fs);
		batch_good = batch_good && check_batch(fs, pipeline);
		good = blob_good && batch_good && good;
		good = check_clock(fs, "Blob", o->storage.endpoint) && good;
		good = check_clock(fs, "Batch", o->batch.endpoint) && good;
		adafs_http_stop(fs->http);
	} else {
		check_report(FINDING_FAIL, "accounts", strdup(err.msg));
	}
	free_clients(fs);
	/* A check starts no job, so an emulator that it had to start is not needed any more. */
	engine_close(engine, true);
	return good;
}

int command_check(int argc, char **argv)
{
	struct adafs_err err = { 0 };
	struct adafs_pipeline *pipeline = NULL;
	struct options o;
	struct fs fs = { 0 };

	if (options_parse(&o, argc, argv, &err) < 0) {
		check_report(FINDING_FAIL, "settings", strdup(err.msg));
		return EXIT_USAGE;
	}
	check_report(FINDING_OK, "settings", strdup("understood"));
	bool good = adafs_pipeline_load(o.pipeline, &pipeline, &err) == 0;
	check_report(good ? FINDING_OK : FINDING_FAIL, "pipeline",
		     strdup(good ? adafs_pipeline_name(pipeline) : err.msg));
	good = check_services(&fs, &o, pipeline) && good;
	adafs_pipeline_unref(pipeline);
	options_clear(&o);
	return good ? EXIT_OK : EXIT_USAGE;
}
