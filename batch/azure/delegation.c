/*
 * azure/delegation.c - the user delegation key of an account: what signs SAS where there is no
 * account key. Fetched and renewed by callers that may wait; everybody else takes what is there.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "batch/azure/blob_int.h"
#include "batch/azure/sas.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/xml.h"

#define SECOND_US INT64_C(1000000)
#define LIFE_US (INT64_C(7) * 86400 * SECOND_US) /* the most that the service gives */
/* Tasks may wait for days: what they get is nearly as long as it can be. */
#define RENEW_US (LIFE_US - INT64_C(12) * 3600 * SECOND_US)
/* Clocks of the service differ: a start in the future would refuse everything. */
#define START_MARGIN_US (INT64_C(900) * SECOND_US)
#define MAX_REPLY (64 * 1024)

struct blob_delegation {
	atomic_uint refs;
	struct adafs_mutex lock; /* rank ADAFS_RANK_LEAF */
	struct adafs_sas_delegation key;
	int64_t expires_us; /* 0: there is none */
};

struct blob_delegation *blob_delegation_new(void)
{
	struct blob_delegation *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	atomic_init(&d->refs, 1);
	adafs_mutex_init(&d->lock, ADAFS_RANK_LEAF);
	return d;
}

struct blob_delegation *blob_delegation_ref(struct blob_delegation *d)
{
	if (d)
		atomic_fetch_add(&d->refs, 1);
	return d;
}

void blob_delegation_unref(struct blob_delegation *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) > 1)
		return;
	explicit_bzero(&d->key, sizeof(d->key));
	adafs_mutex_clear(&d->lock);
	free(d);
}

static int64_t expires_us(struct blob_delegation *d)
{
	adafs_mutex_lock(&d->lock);
	int64_t us = d->expires_us;
	adafs_mutex_unlock(&d->lock);
	return us;
}

bool blob_delegation_covers(struct blob_delegation *d, time_t until)
{
	return expires_us(d) >= (int64_t)until * SECOND_US;
}

/* --- Get User Delegation Key -------------------------------------------------------------- */

static void key_wipe(struct adafs_sas_delegation *k)
{
	explicit_bzero(k, sizeof(*k));
}

static void reply_wipe(struct adafs_http_response *r)
{
	if (r->body.data)
		explicit_bzero(r->body.data, r->body.size);
	adafs_http_response_clear(r);
}

static int take_value(struct adafs_sas_delegation *k, const char *text, size_t len)
{
	uint8_t *value = NULL;
	size_t value_len;
	int rc = adafs_base64_decode(text, len, &value, &value_len);
	if (rc == 0 && value_len > sizeof(k->value))
		rc = -EPROTO;
	if (rc == 0) {
		memcpy(k->value, value, value_len);
		k->value_len = value_len;
		explicit_bzero(value, value_len);
	}
	free(value);
	return rc;
}

static int on_element(void *arg, const char *path, const char *text, size_t len)
{
	struct adafs_sas_delegation *k = arg;
	const struct {
		const char *name;
		char *at;
		size_t size;
	} fields[] = {
		{ "SignedOid", k->oid, sizeof(k->oid) },
		{ "SignedTid", k->tid, sizeof(k->tid) },
		{ "SignedStart", k->start, sizeof(k->start) },
		{ "SignedExpiry", k->expiry, sizeof(k->expiry) },
		{ "SignedService", k->service, sizeof(k->service) },
		{ "SignedVersion", k->version, sizeof(k->version) },
	};
	const char *name = strchr(path, '/');
	if (!name || strncmp(path, "UserDelegationKey/", 18) != 0)
		return 0;
	name++;
	if (strcmp(name, "Value") == 0)
		return take_value(k, text, len);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(fields); i++) {
		if (strcmp(name, fields[i].name) != 0)
			continue;
		/* Shortened it would sign for something else. */
		if (len >= fields[i].size)
			return -EPROTO;
		memcpy(fields[i].at, text, len + 1);
	}
	return 0;
}

static char *key_info(int64_t now_us)
{
	char start[ADAFS_ISO8601_LEN], expiry[ADAFS_ISO8601_LEN];
	adafs_clock_iso8601_seconds(now_us - START_MARGIN_US, start);
	adafs_clock_iso8601_seconds(now_us - START_MARGIN_US + LIFE_US, expiry);
	return adafs_fmt("<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>%s</Start>"
			 "<Expiry>%s</Expiry></KeyInfo>",
			 start, expiry);
}

static int get_key(struct adafs_blob_client *c, int64_t now_us, struct adafs_sas_delegation *ret,
		   struct adafs_err *reterr)
{
	const struct blob_target t = blob_target_of(c, NULL, NULL);
	ADAFS_FREE char *body = key_info(now_us);
	struct adafs_http_request *rq = blob_request(&t, "POST", "Get User Delegation Key",
						     "restype=service&comp=userdelegationkey");
	if (!body || blob_header(rq, "Content-Type", "application/xml") < 0)
		return blob_request_drop(rq, -ENOMEM, reterr);
	rq->body = body;
	rq->body_len = strlen(body);
	rq->max_body = MAX_REPLY;
	ADAFS_CLEANUP(reply_wipe) struct adafs_http_response reply = { 0 };
	int rc = adafs_http_perform(c->http, rq, &reply, reterr);
	if (rc < 0)
		return rc;
	const struct adafs_xml_handler handler = { .end = on_element, .arg = ret };
	rc = adafs_xml_parse(reply.body.data, reply.body.len, &handler, NULL);
	if (rc < 0 || !ret->value_len || !*ret->oid || !*ret->tid || !*ret->expiry)
		return adafs_err_set(reterr, -EPROTO,
				     "Get User Delegation Key: the reply holds no key");
	return 0;
}

int adafs_blob_delegation_renew(struct adafs_blob_client *c, struct adafs_err *reterr)
{
	struct blob_delegation *d = c->delegation;
	int64_t now_us = adafs_blob_now_us(c), until_us;
	if (!d || expires_us(d) > now_us + RENEW_US)
		return 0;
	ADAFS_CLEANUP(key_wipe) struct adafs_sas_delegation key = { 0 };
	int rc = get_key(c, now_us, &key, reterr);
	if (rc == 0 && adafs_clock_parse_iso8601(key.expiry, &until_us) < 0)
		rc = adafs_err_set(reterr, -EPROTO,
				   "Get User Delegation Key: its expiry is no time");
	/* The old one serves until it is too short for anybody. */
	if (rc < 0 && expires_us(d) > now_us + LIFE_US / 2)
		return 0;
	if (rc == -EACCES)
		adafs_err_prefix(reterr,
				 "no SAS can be made for tasks (the identity needs the role "
				 "Storage Blob Delegator or Storage Blob Data Contributor of the "
				 "account)");
	if (rc < 0)
		return rc;
	adafs_mutex_lock(&d->lock);
	d->key = key;
	d->expires_us = until_us;
	adafs_mutex_unlock(&d->lock);
	return 0;
}

/* --- use ---------------------------------------------------------------------------------- */

int adafs_blob_sas(const struct adafs_blob_client *c, const char *container, const char *blob,
		   const struct adafs_sas *sas, char **ret_query, struct adafs_err *reterr)
{
	if (!c->delegation)
		return adafs_sas_sign(&c->account, container, blob, sas, ret_query, reterr);
	ADAFS_CLEANUP(key_wipe) struct adafs_sas_delegation key;
	adafs_mutex_lock(&c->delegation->lock);
	key = c->delegation->key;
	int64_t until_us = c->delegation->expires_us;
	adafs_mutex_unlock(&c->delegation->lock);
	int64_t now_us = adafs_blob_now_us(c), wanted_us = 0;
	if (until_us <= now_us)
		return adafs_err_set(reterr, -EACCES,
				     "there is no user delegation key to sign with");
	struct adafs_sas own = *sas;
	own.delegation = &key;
	own.policy = NULL; /* only an account key can refer to one */
	if (!own.expiry || adafs_clock_parse_iso8601(own.expiry, &wanted_us) < 0 ||
	    wanted_us > until_us)
		own.expiry = key.expiry;
	return adafs_sas_sign(&c->account, container, blob, &own, ret_query, reterr);
}
