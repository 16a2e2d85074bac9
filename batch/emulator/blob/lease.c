/*
 * Leases of blobs and containers. A lease holds from acquire until it is released, expires or is
 * broken; an id that was broken or has expired stays known, because the service answers its use
 * otherwise than that of a strange one.
 */
#include "batch/emulator/blob/blob.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "batch/base/clock.h"

#define SECOND_US 1000000LL

/* A GUID in any of its spellings to lower case with dashes. */
static bool parse_guid(const char *text, char out[ADAFS_UUID_LEN])
{
	size_t n = 0;
	for (const char *p = text; *p; p++) {
		if (strchr("-{}()", *p))
			continue;
		if (!isxdigit((unsigned char)*p) || n == 32)
			return false;
		n++;
	}
	if (n != 32 || strlen(text) > 38)
		return false;
	n = 0;
	for (const char *p = text; *p; p++) {
		if (!isxdigit((unsigned char)*p))
			continue;
		if (n == 8 || n == 13 || n == 18 || n == 23)
			out[n++] = '-';
		out[n++] = (char)tolower((unsigned char)*p);
	}
	out[n] = 0;
	return true;
}

/* A header that holds a lease id; out is "" where it is absent. */
static int take_id(struct blob_call *c, const char *name, char out[ADAFS_UUID_LEN])
{
	const char *v = call_header(c, name);
	*out = 0;
	if (v && !parse_guid(v, out))
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, name);
	return 0;
}

/* --- what others ask ------------------------------------------------------------------------- */

/* The id of the request against the lease; required: a lease that holds must be named. */
static int check_use(struct blob_call *c, const struct blob_lease *l, bool required)
{
	bool blob = c->level == LEVEL_BLOB;
	char id[ADAFS_UUID_LEN];
	int rc = take_id(c, "x-ms-lease-id", id);
	if (rc != 0)
		return rc;
	enum blob_lease_state state = l ? lease_state(l, adafs_clock_wall_us()) : LEASE_AVAILABLE;
	bool holds = state == LEASE_LEASED || state == LEASE_BREAKING;
	if (!*id)
		return required && holds ? BE_LEASE_ID_MISSING : 0;
	if (state == LEASE_AVAILABLE)
		return blob ? BE_LEASE_NOT_PRESENT : BE_CONTAINER_LEASE_NOT_PRESENT;
	if (strcmp(l->id, id) != 0)
		return blob ? BE_LEASE_ID_MISMATCH_BLOB : BE_LEASE_ID_MISMATCH_CONTAINER;
	return holds ? 0 : BE_LEASE_LOST;
}

int lease_check_write(struct blob_call *c, const struct blob_lease *l)
{
	return check_use(c, l, true);
}

int lease_check_read(struct blob_call *c, const struct blob_lease *l)
{
	return check_use(c, l, false);
}

struct lease_words lease_words(const struct blob_lease *l)
{
	static const char *const states[] = {
		[LEASE_AVAILABLE] = "available", [LEASE_LEASED] = "leased",
		[LEASE_EXPIRED] = "expired",     [LEASE_BREAKING] = "breaking",
		[LEASE_BROKEN] = "broken",
	};
	enum blob_lease_state state = lease_state(l, adafs_clock_wall_us());
	return (struct lease_words){
		.status = state == LEASE_LEASED || state == LEASE_BREAKING ? "locked" : "unlocked",
		.state = states[state],
		.duration = state != LEASE_LEASED ? NULL
			    : l->seconds < 0      ? "infinite"
						  : "fixed",
	};
}

void answer_lease(struct http_resp *resp, const struct blob_lease *l)
{
	struct lease_words w = lease_words(l);
	http_resp_header(resp, "x-ms-lease-status", w.status);
	http_resp_header(resp, "x-ms-lease-state", w.state);
	if (w.duration)
		http_resp_header(resp, "x-ms-lease-duration", w.duration);
}

int xml_lease(struct adafs_buf *b, const struct blob_lease *l)
{
	struct lease_words w = lease_words(l);
	int rc = adafs_xml_element(b, "LeaseStatus", w.status);
	if (rc == 0)
		rc = adafs_xml_element(b, "LeaseState", w.state);
	return rc == 0 && w.duration ? adafs_xml_element(b, "LeaseDuration", w.duration) : rc;
}

/* --- the operation --------------------------------------------------------------------------- */

struct lease_request {
	struct blob_conditions conditions;
	char id[ADAFS_UUID_LEN], proposed[ADAFS_UUID_LEN]; /* "": absent */
	int64_t seconds;                                   /* acquire: 15..60, -1 infinite */
	int64_t period;                                    /* break: 0..60, -1 absent */
	int64_t now;
	int (*act)(struct lease_request *r, struct blob_lease *l);
	int status;
	char answer[ADAFS_UUID_LEN]; /* the id to answer; "": none */
	int64_t left;                /* break: seconds until it is broken; -1: not told */
};

static int set_id(struct blob_lease *l, const char *id)
{
	char *copy = strdup(id);
	if (!copy)
		return -ENOMEM;
	free(l->id);
	l->id = copy;
	return 0;
}

static void start(struct lease_request *r, struct blob_lease *l, int64_t seconds)
{
	l->seconds = seconds;
	l->end = seconds < 0 ? INT64_MAX : r->now + seconds * SECOND_US;
	l->breaking = false;
	memcpy(r->answer, l->id, strlen(l->id) + 1);
}

static int act_acquire(struct lease_request *r, struct blob_lease *l)
{
	enum blob_lease_state state = lease_state(l, r->now);
	bool same = l->id && strcmp(l->id, r->proposed) == 0;
	if (state == LEASE_BREAKING)
		return same ? BE_LEASE_BREAKING_ACQUIRE : BE_LEASE_ALREADY_PRESENT;
	if (state == LEASE_LEASED && !same)
		return BE_LEASE_ALREADY_PRESENT;
	if (!*r->proposed)
		adafs_random_uuid(r->proposed);
	int rc = set_id(l, r->proposed);
	if (rc == 0)
		start(r, l, r->seconds);
	return rc;
}

static int act_renew(struct lease_request *r, struct blob_lease *l)
{
	enum blob_lease_state state = lease_state(l, r->now);
	if (state == LEASE_AVAILABLE || strcmp(l->id, r->id) != 0)
		return BE_LEASE_ID_MISMATCH_OPERATION;
	if (state == LEASE_BREAKING || state == LEASE_BROKEN)
		return BE_LEASE_BROKEN_RENEW;
	start(r, l, l->seconds);
	return 0;
}

static int act_change(struct lease_request *r, struct blob_lease *l)
{
	enum blob_lease_state state = lease_state(l, r->now);
	if (state != LEASE_LEASED && state != LEASE_BREAKING)
		return BE_LEASE_NOT_PRESENT_OPERATION;
	/* Repeating a change that succeeded succeeds. */
	if (strcmp(l->id, r->id) != 0 && strcmp(l->id, r->proposed) != 0)
		return BE_LEASE_ID_MISMATCH_OPERATION;
	if (state == LEASE_BREAKING)
		return BE_LEASE_BREAKING_CHANGE;
	memcpy(r->answer, r->proposed, sizeof(r->answer));
	return set_id(l, r->proposed);
}

static int act_release(struct lease_request *r, struct blob_lease *l)
{
	if (!l->id || strcmp(l->id, r->id) != 0)
		return BE_LEASE_ID_MISMATCH_OPERATION;
	blob_lease_clear(l);
	return 0;
}

static int act_break(struct lease_request *r, struct blob_lease *l)
{
	enum blob_lease_state state = lease_state(l, r->now);
	if (state == LEASE_AVAILABLE)
		return BE_LEASE_NOT_PRESENT_OPERATION;
	/* An infinite lease ends at once unless a period is asked for; a fixed one runs out. */
	int64_t end = l->end == INT64_MAX ? r->now : l->end;
	if (r->period >= 0) {
		int64_t asked = r->now + r->period * SECOND_US;
		end = l->end < asked ? l->end : asked;
	}
	if (state == LEASE_BROKEN || state == LEASE_EXPIRED)
		end = r->now;
	l->breaking = true;
	l->end = end;
	r->left = (end - r->now + SECOND_US - 1) / SECOND_US;
	return 0;
}

static int lease_changed(void *arg, struct blob_lease *l, blob_stamp stamp)
{
	struct lease_request *r = arg;
	int rc = conditions_check_write(&r->conditions, true, stamp, false);
	return rc == 0 ? r->act(r, l) : rc;
}

static int take_number(struct blob_call *c, const char *name, int64_t *ret)
{
	const char *v = call_header(c, name);
	char *end;
	if (!v)
		return 0;
	*ret = strtoll(v, &end, 10);
	return *end || *ret < -1 || *ret > 60 ? call_bad_header(c, BE_INVALID_HEADER_VALUE, name)
					      : 0;
}

static int need(struct blob_call *c, const char *name)
{
	return call_header(c, name) ? 0 : call_bad_header(c, BE_MISSING_REQUIRED_HEADER, name);
}

static int parse_acquire(struct blob_call *c, struct lease_request *r)
{
	r->act = act_acquire;
	r->status = 201;
	int rc = need(c, "x-ms-lease-duration");
	if (rc == 0)
		rc = take_number(c, "x-ms-lease-duration", &r->seconds);
	if (rc == 0 && r->seconds != -1 && r->seconds < 15)
		rc = call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-lease-duration");
	return rc;
}

static int parse_break(struct blob_call *c, struct lease_request *r)
{
	r->act = act_break;
	r->status = 202;
	int rc = take_number(c, "x-ms-lease-break-period", &r->period);
	if (rc == 0 && r->period < 0 && call_header(c, "x-ms-lease-break-period"))
		rc = call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-lease-break-period");
	return rc;
}

static int parse_action(struct blob_call *c, struct lease_request *r)
{
	const char *action = call_header(c, "x-ms-lease-action");
	int rc = need(c, "x-ms-lease-action");
	if (rc != 0)
		return rc;
	if (strcasecmp(action, "acquire") == 0)
		return parse_acquire(c, r);
	if (strcasecmp(action, "break") == 0)
		return parse_break(c, r);
	rc = need(c, "x-ms-lease-id");
	if (strcasecmp(action, "renew") == 0) {
		r->act = act_renew;
	} else if (strcasecmp(action, "release") == 0) {
		r->act = act_release;
	} else if (strcasecmp(action, "change") == 0) {
		r->act = act_change;
		rc = rc == 0 ? need(c, "x-ms-proposed-lease-id") : rc;
	} else {
		return call_bad_header(c, BE_INVALID_HEADER_VALUE, "x-ms-lease-action");
	}
	return rc;
}

static int lease_parse(struct blob_call *c, struct lease_request *r)
{
	int rc = parse_action(c, r);
	if (rc == 0)
		rc = take_id(c, "x-ms-lease-id", r->id);
	if (rc == 0)
		rc = take_id(c, "x-ms-proposed-lease-id", r->proposed);
	if (rc == 0)
		rc = conditions_parse(c, "", &r->conditions);
	if (rc == 0 && c->level == LEVEL_CONTAINER)
		rc = conditions_dates_only(&r->conditions);
	return rc == 0 ? conditions_check_combination(&r->conditions) : rc;
}

int op_lease(struct blob_call *c, struct http_resp *resp)
{
	struct lease_request r = {
		.seconds = -1, .period = -1, .left = -1, .status = 200, .now = adafs_clock_wall_us()
	};
	blob_stamp stamp;
	int rc = lease_parse(c, &r);
	if (rc == 0)
		rc = store_lease(c->service->store, c->container, c->name, lease_changed, &r,
				 &stamp);
	if (rc != 0)
		return rc;
	resp->status = r.status;
	answer_stamp(resp, stamp);
	if (*r.answer)
		http_resp_header(resp, "x-ms-lease-id", r.answer);
	return r.left < 0 ? 0
			  : http_resp_headerf(resp, "x-ms-lease-time", "%lld", (long long)r.left);
}
