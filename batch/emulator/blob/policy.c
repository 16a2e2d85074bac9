/*
 * Stored access policies as the service obeys them: a change takes a while (TRAP_POLICY_DELAY).
 * What held before each change is kept in memory only, so after a restart the stored ones hold at
 * once.
 */
#include "batch/emulator/blob/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/emulator/traps.h"

#define MAX_CHANGES 256 /* the oldest are forgotten, which ends their delay */

struct policy_change {
	int64_t at_us;
	struct container_info before;
};

struct policy_history {
	struct adafs_mutex lock;                   /* LEAF */
	struct policy_change changes[MAX_CHANGES]; /* oldest first */
	size_t n;
};

int policies_new(struct blob_service *s)
{
	s->policies = calloc(1, sizeof(*s->policies));
	if (!s->policies)
		return -ENOMEM;
	adafs_mutex_init(&s->policies->lock, ADAFS_RANK_LEAF);
	return 0;
}

void policies_free(struct policy_history *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n; i++)
		container_info_clear(&h->changes[i].before);
	adafs_mutex_clear(&h->lock);
	free(h);
}

static void drop_first_locked(struct policy_history *h)
{
	container_info_clear(&h->changes[0].before);
	memmove(h->changes, h->changes + 1, --h->n * sizeof(*h->changes));
}

int policies_before_change(struct blob_call *c)
{
	struct policy_history *h = c->service->policies;
	if (trap_value(c->service->traps, TRAP_POLICY_DELAY) <= 0)
		return 0;
	struct policy_change change = { .at_us = adafs_clock_wall_us() };
	int rc = store_container_get(c->service->store, c->container, true, &change.before);
	if (rc != 0)
		return rc;
	adafs_mutex_lock(&h->lock);
	if (h->n == MAX_CHANGES)
		drop_first_locked(h);
	h->changes[h->n++] = change;
	adafs_mutex_unlock(&h->lock);
	return 0;
}

static int copy_text(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int copy_policies(const struct container_info *from, struct container_info *to)
{
	for (size_t i = 0; i < to->n_policies; i++)
		blob_policy_clear(&to->policies[i]);
	to->n_policies = 0;
	for (size_t i = 0; i < from->n_policies; i++) {
		const struct blob_policy *f = &from->policies[i];
		struct blob_policy *t = &to->policies[to->n_policies++];
		if (copy_text(f->id, &t->id) < 0 || copy_text(f->start, &t->start) < 0 ||
		    copy_text(f->expiry, &t->expiry) < 0 ||
		    copy_text(f->permission, &t->permission) < 0)
			return -ENOMEM;
	}
	return 0;
}

int policies_obeyed(struct blob_call *c, const char *container, struct container_info *ret)
{
	int rc = store_container_get(c->service->store, container, true, ret);
	double delay_s = trap_value(c->service->traps, TRAP_POLICY_DELAY);
	if (rc != 0 || delay_s <= 0)
		return rc;
	struct policy_history *h = c->service->policies;
	int64_t since = adafs_clock_wall_us() - (int64_t)(delay_s * 1e6);
	adafs_mutex_lock(&h->lock);
	for (size_t i = 0; i < h->n; i++) {
		/* A container of the same name that was made anew has another id. */
		if (h->changes[i].at_us <= since || h->changes[i].before.id != ret->id)
			continue;
		rc = copy_policies(&h->changes[i].before, ret);
		break;
	}
	adafs_mutex_unlock(&h->lock);
	return rc;
}
