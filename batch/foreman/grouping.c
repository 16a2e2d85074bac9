/* foreman/grouping.c - the images of an event, and whether more of them are to be expected. */
#include "batch/foreman/grouping.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"

#define OTHERS_FACTOR 3

int foreman_members_locked(struct adafs_foreman *f, const struct foreman_event *e,
			   struct foreman_members *ret)
{
	ADAFS_FREE char *prefix = adafs_fmt("images/%s/", e->name);
	size_t len = prefix ? strlen(prefix) : 0;
	size_t first = prefix ? foreman_table_lower(&f->images, prefix) : f->images.n, last = first;
	while (last < f->images.n &&
	       strncmp(((struct foreman_image *)f->images.item[last])->blob, prefix, len) == 0)
		last++;
	*ret = (struct foreman_members){ 0 };
	ret->image = calloc(last - first + 1, sizeof(struct foreman_image *));
	ret->role = calloc(last - first + 1, sizeof(*ret->role));
	if (!prefix || !ret->image || !ret->role) {
		foreman_members_clear(ret);
		return -ENOMEM;
	}
	for (size_t i = first; i < last; i++) {
		struct foreman_image *im = f->images.item[i];
		int role = adafs_pipeline_role(e->pipeline, im->blob + len, NULL);
		if (role < 0 || strcmp(im->digest, adafs_pipeline_digest(e->pipeline)) != 0)
			continue;
		ret->role[ret->n] = (size_t)role;
		ret->image[ret->n++] = im;
	}
	return 0;
}

void foreman_members_clear(struct foreman_members *m)
{
	free(m->image);
	free(m->role);
	*m = (struct foreman_members){ 0 };
}

uint64_t foreman_settled_at_ms(const struct adafs_foreman *f, const struct foreman_event *e,
			       const struct foreman_members *m)
{
	uint64_t at = 0;
	if (f->draining)
		return 0;
	if (e->busy)
		return UINT64_MAX;
	for (size_t i = 0; i < m->n; i++) {
		const struct foreman_image *im = m->image[i];
		/* What another mount copies is seen now and then only. */
		uint64_t settle_ms =
			im->own ? f->settle_ms : OTHERS_FACTOR * (uint64_t)f->settle_ms;
		if (im->noted_ms + settle_ms > at)
			at = im->noted_ms + settle_ms;
	}
	return at;
}

void foreman_look_at_locked(struct adafs_foreman *f, uint64_t when_ms)
{
	if (f->resolve_at_ms && f->resolve_at_ms <= when_ms)
		return;
	f->resolve_at_ms = when_ms;
	adafs_cond_signal(&f->submitter_wake);
}
