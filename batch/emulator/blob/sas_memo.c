/*
 * Signatures of SAS by the account's key that were found right. Whether one fits its text depends
 * on the key alone, which stays the same while the service runs, so nothing voids an entry: all
 * that may change (time, policy, permission, address) is asked at every request, and a request that
 * says something else has another text. Those by the key of a user depend on more and are not kept.
 */
#include "batch/emulator/blob/blob.h"

#include <stdlib.h>
#include <string.h>

#include "batch/base/codec.h"
#include "batch/base/mutex.h"

#define SLOTS 64
#define MAX_TEXT 1024 /* longer ones are computed anew */
#define MAX_SIG 64

struct memo_slot {
	char text[MAX_TEXT], sig[MAX_SIG + 1];
	size_t text_len;
};

struct sas_memo {
	struct adafs_mutex lock; /* LEAF */
	struct memo_slot *slots[SLOTS];
};

struct sas_memo *sas_memo_new(void)
{
	struct sas_memo *m = calloc(1, sizeof(*m));
	if (m)
		adafs_mutex_init(&m->lock, ADAFS_RANK_LEAF);
	return m;
}

void sas_memo_free(struct sas_memo *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < SLOTS; i++) {
		if (m->slots[i])
			explicit_bzero(m->slots[i], sizeof(*m->slots[i]));
		free(m->slots[i]);
	}
	adafs_mutex_clear(&m->lock);
	free(m);
}

/* A signature is as random as a hash of it. */
static struct memo_slot **slot_of(struct sas_memo *m, const char *sig)
{
	size_t n = 0;
	for (size_t i = 0; i < 8 && sig[i]; i++)
		n = n * 31 + (unsigned char)sig[i];
	return &m->slots[n % SLOTS];
}

bool sas_memo_knows(struct sas_memo *m, const struct adafs_buf *text, const char *sig)
{
	adafs_mutex_lock(&m->lock);
	const struct memo_slot *s = *slot_of(m, sig);
	bool known = s && s->text_len == text->len && memcmp(s->text, text->data, text->len) == 0 &&
		     adafs_equal_secret(s->sig, strlen(s->sig), sig, strlen(sig));
	adafs_mutex_unlock(&m->lock);
	return known;
}

void sas_memo_keep(struct sas_memo *m, const struct adafs_buf *text, const char *sig)
{
	size_t len = strlen(sig);
	if (!text->len || text->len > MAX_TEXT || len > MAX_SIG)
		return;
	adafs_mutex_lock(&m->lock);
	struct memo_slot **at = slot_of(m, sig);
	if (!*at)
		*at = malloc(sizeof(**at));
	if (*at) {
		memcpy((*at)->text, text->data, text->len);
		memcpy((*at)->sig, sig, len + 1);
		(*at)->text_len = text->len;
	}
	adafs_mutex_unlock(&m->lock);
}
