/*
 * foreman/waits.c - what a request waits for that the service does not answer, or not well: it is
 * tried again for as long as io_timeout, and meanwhile who looks at a job is to know. Looked at by
 * the publisher, since the threads that ask are waiting.
 */
#include <stdint.h>
#include <string.h>

#include "batch/base/log.h"
#include "batch/foreman/internal.h"

/* A failure that is over so soon is not worth a word. */
#define AGAIN_MS 250
/* Nor is a service that takes so long. */
#define SILENT_MS 1000
/* A submission is several requests, each of which may take its time. */
#define SUBMIT_SILENT_MS 5000

static const char being_submitted[] = "is being submitted", not_yet[] = "not submitted yet";

static uint64_t silent_ms(const struct adafs_foreman *f)
{
	return f->poll_ms > SILENT_MS ? f->poll_ms : SILENT_MS;
}

void foreman_asks_locked(struct adafs_foreman *f, uint64_t now_ms)
{
	f->asked_ms = now_ms;
	f->asked_told = false;
	if (now_ms)
		adafs_cond_signal(&f->publisher_wake);
}

/* What another sentence than one of a submission under way stands in, stays as it is. */
static bool is_on_its_way(const struct foreman_job *j)
{
	return strncmp(j->waiting_for, being_submitted, strlen(being_submitted)) == 0 ||
	       strncmp(j->waiting_for, not_yet, strlen(not_yet)) == 0;
}

/* Jobs that stand in the queue before Batch; those that were refused themselves say why. */
static void tell_unsubmitted_locked(struct adafs_foreman *f, const char *text)
	ADAFS_REQUIRES(&f->lock)
{
	for (size_t i = 0; i < f->jobs.n; i++) {
		struct foreman_job *j = f->jobs.item[i];
		if (!j->submitted && !j->cancel && j->retry_at_ms <= f->submitting_ms &&
		    is_on_its_way(j) && foreman_text_set(&j->waiting_for, text))
			foreman_touch_locked(f, j);
	}
}

void foreman_submits_locked(struct adafs_foreman *f, uint64_t now_ms)
{
	if (!now_ms && f->submit_told)
		tell_unsubmitted_locked(f, being_submitted);
	f->submitting_ms = now_ms;
	f->submit_told = false;
	if (now_ms)
		adafs_cond_signal(&f->publisher_wake);
}

static void tell_asked_locked(struct adafs_foreman *f, uint64_t waits_ms) ADAFS_REQUIRES(&f->lock)
{
	struct adafs_err err = { 0 };
	ADAFS_FREE char *text = NULL;
	if (waits_ms >= AGAIN_MS && adafs_batch_client_tries_again(f->batch, &err))
		text = adafs_fmt("jobs cannot be followed now: %s", err.msg);
	else if (waits_ms >= silent_ms(f))
		text = adafs_fmt("jobs cannot be followed now: Batch account '%s' does not answer; "
				 "check the network and its firewall",
				 adafs_batch_client_name(f->batch));
	if (!text)
		return;
	f->asked_told = true;
	foreman_set_trouble_locked(f, &f->batch_trouble, text);
}

static void tell_submit_locked(struct adafs_foreman *f, uint64_t waits_ms) ADAFS_REQUIRES(&f->lock)
{
	const char *blob = adafs_blob_client_account(f->blob)->endpoint;
	struct adafs_http *http = adafs_blob_client_http(f->blob);
	struct adafs_err err = { 0 };
	ADAFS_FREE char *text = NULL;
	if (waits_ms >= AGAIN_MS && (adafs_batch_client_tries_again(f->batch, &err) ||
				     adafs_http_tries_again(http, blob, &err)))
		text = adafs_fmt("%s, is being tried again: %s", not_yet, err.msg);
	else if (waits_ms >= SUBMIT_SILENT_MS)
		text = adafs_fmt("%s: a request is not answered; check the network "
				 "and its firewall",
				 not_yet);
	if (!text)
		return;
	f->submit_told = true;
	tell_unsubmitted_locked(f, text);
}

uint64_t foreman_tell_waits_locked(struct adafs_foreman *f, uint64_t now_ms)
{
	if (f->asked_ms && !f->asked_told)
		tell_asked_locked(f, now_ms - f->asked_ms);
	if (f->submitting_ms && !f->submit_told)
		tell_submit_locked(f, now_ms - f->submitting_ms);
	bool more = (f->asked_ms && !f->asked_told) || (f->submitting_ms && !f->submit_told);
	return more ? now_ms + AGAIN_MS : UINT64_MAX;
}
