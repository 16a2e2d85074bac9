/*
 * What a reader looked up last: a client that reads one blob in many ranges asks the database once.
 * The entries belong to a connection, which one thread has at a time, and hold as long as nothing
 * was committed since, so there is no lock and nothing to invalidate.
 */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool copy_text(char **dst, const char *src)
{
	*dst = src ? strdup(src) : NULL;
	return !src || *dst;
}

/* 0 or -ENOMEM. */
static int info_copy(struct blob_info *dst, const struct blob_info *src)
{
	struct blob_info b = *src;
	b.headers = (struct blob_headers){ 0 };
	bool ok = copy_text(&b.name, src->name);
	ok &= copy_text(&b.metadata, src->metadata);
	ok &= copy_text(&b.copy_id, src->copy_id);
	ok &= copy_text(&b.copy_source, src->copy_source);
	ok &= copy_text(&b.tier, src->tier);
	ok &= copy_text(&b.tags, src->tags);
	ok &= copy_text(&b.rehydrate, src->rehydrate);
	ok &= copy_text(&b.lease.id, src->lease.id);
	ok &= blob_headers_copy(&b.headers, &src->headers) == 0;
	if (!ok) {
		blob_info_clear(&b);
		return -ENOMEM;
	}
	*dst = b;
	return 0;
}

void hot_clear(struct hot *h)
{
	for (size_t i = 0; i < HOT_BLOBS; i++) {
		free(h->blobs[i].container);
		blob_info_clear(&h->blobs[i].info);
	}
	*h = (struct hot){ 0 };
}

bool hot_find(struct db *db, unsigned version, const char *container, const char *name,
	      blob_stamp snapshot, struct blob_info *ret)
{
	for (size_t i = 0; i < HOT_BLOBS; i++) {
		const struct hot_blob *b = &db->hot.blobs[i];
		if (b->container && b->version == version && b->info.snapshot == snapshot &&
		    strcmp(b->info.name, name) == 0 && strcmp(b->container, container) == 0)
			return info_copy(ret, &b->info) == 0;
	}
	return false;
}

void hot_keep(struct db *db, unsigned version, const char *container, const struct blob_info *info)
{
	if (info->rehydrate) /* changes by the clock alone */
		return;
	struct hot_blob *b = &db->hot.blobs[db->hot.next++ % HOT_BLOBS];
	free(b->container);
	blob_info_clear(&b->info);
	b->version = version;
	b->container = strdup(container);
	if (b->container && info_copy(&b->info, info) < 0) {
		free(b->container);
		b->container = NULL;
	}
}

bool hot_extent_find(const struct db *db, unsigned version, int64_t content, uint64_t off,
		     uint64_t len, struct blob_piece *ret)
{
	for (size_t i = 0; i < HOT_BLOBS; i++) {
		const struct hot_extent *e = &db->hot.extents[i];
		if (e->content == content && e->version == version && off >= e->pos &&
		    off + len <= e->pos + e->piece.len) {
			*ret = e->piece;
			ret->off += off - e->pos;
			ret->len = len;
			return true;
		}
	}
	return false;
}

void hot_extent_keep(struct db *db, unsigned version, int64_t content, uint64_t pos,
		     const struct blob_piece *piece)
{
	struct hot *h = &db->hot;
	h->extents[h->next_extent++ % HOT_BLOBS] = (struct hot_extent){
		.version = version, .content = content, .pos = pos, .piece = *piece
	};
}
