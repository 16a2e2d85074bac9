/*
 * Uploads: the files that staged blocks are written to. The blocks of one blob go to one file, each
 * in a part reserved when its request begins, so that parallel requests write side by side. Clients
 * number their blocks within the ids, and a block lies where its number puts it: so a blob uploaded
 * in parallel is one extent in the end, which goes out by sendfile. What has no place there is
 * appended to a second file. An upload is attached (found by the next block) until a commit or
 * discard, and lives on detached as long as a request still writes to it.
 */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch/base/codec.h"
#include "batch/base/file.h"

#define MAX_UPLOADS 64 /* descriptors kept for uploads that pause */
#define FLUSH_STEP (1024 * 1024)
#define MAX_DIGITS 12         /* of a number within an id; before them something random may stand */
#define MAX_PLACES 50000      /* as many as a block list can name */
#define MAX_FILE (1ULL << 42) /* no place lies beyond */
#define MIN_STRIDE (64 * 1024) /* smaller blocks come as they come */

static struct upload *upload_find_locked(struct blob_store *s, int64_t container, const char *name,
					 bool ordered)
{
	for (struct upload *u = s->uploads; u; u = u->next)
		if (u->container == container && !u->stride == !ordered &&
		    strcmp(u->name, name) == 0)
			return u;
	return NULL;
}

static void upload_free(struct upload *u)
{
	close(u->fd);
	free(u->taken);
	free(u->name);
	free(u);
}

static void list_remove(struct upload **list, const struct upload *u)
{
	while (*list && *list != u)
		list = &(*list)->next;
	if (*list)
		*list = u->next;
}

bool upload_writes_locked(const struct blob_store *s, int64_t file)
{
	for (const struct upload *u = s->uploads; u; u = u->next)
		if (u->file == file)
			return true;
	for (const struct upload *u = s->detached; u; u = u->next)
		if (u->file == file)
			return true;
	return false;
}

int upload_detach_locked(struct blob_store *s, struct upload *u)
{
	int rc = data_dropped_locked(s, u->file);
	list_remove(&s->uploads, u);
	s->n_uploads--;
	u->attached = false;
	if (u->n_writers) {
		u->next = s->detached;
		s->detached = u;
	} else {
		upload_free(u);
	}
	return rc;
}

void uploads_free(struct blob_store *s)
{
	while (s->uploads) {
		struct upload *next = s->uploads->next;
		upload_free(s->uploads);
		s->uploads = next;
	}
}

/* Too many pause: the one unused for longest gives its descriptor back. */
static void uploads_trim(struct blob_store *s)
{
	adafs_mutex_lock(&s->lock);
	bool many = s->n_uploads > MAX_UPLOADS;
	adafs_mutex_unlock(&s->lock);
	if (!many || db_begin(s) < 0)
		return;
	struct upload *oldest = NULL;
	for (struct upload *u = s->uploads; u; u = u->next)
		if (!u->n_writers && (!oldest || u->used < oldest->used))
			oldest = u;
	(void)db_end(s, oldest ? upload_detach_locked(s, oldest) : 0);
}

static struct upload *upload_new(struct blob_store *s, int64_t container, const char *name,
				 uint64_t stride)
{
	struct upload *u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->container = container;
	u->stride = stride;
	u->n_staged = UINT64_MAX;
	u->name = strdup(name);
	u->fd = -1;
	if (u->name && data_create(s, &u->file, &u->fd) == 0 && data_sync(s, u->file, u->fd) == 0)
		return u;
	if (u->fd >= 0) {
		data_unlink(s, u->file);
		close(u->fd);
	}
	free(u->name);
	free(u);
	return NULL;
}

/*
 * The number at the end of a block id, -1: none. Clients count blocks, or name each by its offset;
 * some encode the text twice.
 */
static int64_t block_number(const char *id)
{
	ADAFS_FREE uint8_t *once = NULL, *twice = NULL;
	size_t len = 0;
	if (!id || adafs_base64_decode(id, strlen(id), &once, &len) < 0)
		return -1;
	const uint8_t *text = once;
	size_t inner = 0;
	if (len && (once[len - 1] < '0' || once[len - 1] > '9') &&
	    adafs_base64_decode((const char *)once, len, &twice, &inner) == 0) {
		text = twice;
		len = inner;
	}
	int64_t number = 0, scale = 1;
	size_t n = 0;
	for (; n < MAX_DIGITS && n < len && text[len - 1 - n] >= '0' && text[len - 1 - n] <= '9';
	     n++) {
		number += (text[len - 1 - n] - '0') * scale;
		scale *= 10;
	}
	return n ? number : -1;
}

/* A number that the room for a block divides is an offset. */
static bool place_of(const struct upload *u, int64_t number, uint64_t len, size_t *ret_place)
{
	uint64_t n = (uint64_t)number;
	size_t place = n % u->stride == 0 ? n / u->stride : n;
	*ret_place = place;
	return len <= u->stride && place < MAX_PLACES && place < MAX_FILE / u->stride;
}

static bool take_place(struct upload *u, size_t place)
{
	size_t need = place / 8 + 1;
	if (need > u->n_taken) {
		uint8_t *grown = realloc(u->taken, 2 * need);
		if (!grown)
			return false;
		memset(grown + u->n_taken, 0, 2 * need - u->n_taken);
		u->taken = grown;
		u->n_taken = 2 * need;
	}
	bool is_free = !(u->taken[place / 8] & 1u << place % 8);
	u->taken[place / 8] |= (uint8_t)(1u << place % 8);
	return is_free;
}

/* What was not staged may be sent again: the same place is for it then. */
static void free_place(struct upload *u, uint64_t off)
{
	size_t place = off / u->stride;
	u->taken[place / 8] &= (uint8_t) ~(1u << place % 8);
}

/* Reserve room in the upload's file. 1: done; 0: there is none yet; -EEXIST: no place in it. */
static int upload_reserve(struct blob_store *s, int64_t container, const char *name, int64_t number,
			  uint64_t len, struct block_writer *w)
{
	adafs_mutex_lock(&s->lock);
	struct upload *u = upload_find_locked(s, container, name, number >= 0);
	size_t place = 0;
	int rc = u != NULL;
	if (u && u->stride && !(place_of(u, number, len, &place) && take_place(u, place)))
		rc = -EEXIST;
	if (rc == 1) {
		uint64_t off = u->stride ? place * u->stride : u->end;
		u->n_writers++;
		u->used = ++s->upload_clock;
		u->end += u->stride ? 0 : len;
		*w = (struct block_writer){ .store = s, .upload = u, .off = off, .len = len };
	}
	adafs_mutex_unlock(&s->lock);
	return rc;
}

/* Attach a new upload, unless another request was faster. */
static void upload_attach(struct blob_store *s, struct upload *u)
{
	adafs_mutex_lock(&s->lock);
	bool late = upload_find_locked(s, u->container, u->name, u->stride != 0) != NULL;
	if (!late) {
		u->attached = true;
		u->next = s->uploads;
		s->uploads = u;
		s->n_uploads++;
	}
	adafs_mutex_unlock(&s->lock);
	if (late) {
		data_unlink(s, u->file);
		upload_free(u);
	}
}

int store_block_open(struct blob_store *s, const char *container, const char *name, const char *id,
		     uint64_t len, struct block_writer *w)
{
	int64_t cid, number = block_number(id);
	struct db *db = db_reader_get(s);
	int rc = db_container_id(db, container, &cid);
	db_reader_put(s, db);
	if (rc == 0)
		rc = data_room(s);
	if (rc != 0)
		return rc;
	while ((rc = upload_reserve(s, cid, name, number, len, w)) != 1) {
		if (rc == -EEXIST || (number >= 0 && len < MIN_STRIDE)) {
			number = -1;
			continue;
		}
		struct upload *u = upload_new(s, cid, name, number >= 0 ? len : 0);
		if (!u)
			return -EIO;
		upload_attach(s, u);
	}
	uploads_trim(s);
	return 0;
}

int store_block_add(struct block_writer *w, const void *data, size_t len)
{
	if (len > w->len - w->written)
		return -EFBIG;
	int fd = w->upload->fd;
	int rc = adafs_pwrite_all(fd, data, len, (off_t)(w->off + w->written));
	if (rc == 0)
		rc = sums_add(&w->sums, data, len);
	if (rc < 0)
		return rc;
	w->written += len;
	if (w->written - w->flushed >= FLUSH_STEP) {
		/* The disk has work while the rest arrives. It only hurries: fdatasync decides. */
		(void)sync_file_range(fd, (off_t)(w->off + w->flushed),
				      (off_t)(w->written - w->flushed), SYNC_FILE_RANGE_WRITE);
		w->flushed = w->written;
	}
	return 0;
}

void store_block_close(struct block_writer *w)
{
	struct blob_store *s = w->store;
	if (!s)
		return;
	struct upload *u = ADAFS_STEAL(w->upload);
	w->store = NULL;
	sums_clear(&w->sums);
	adafs_mutex_lock(&s->lock);
	if (u->stride && !w->staged)
		free_place(u, w->off);
	bool last = --u->n_writers == 0 && !u->attached;
	if (last)
		list_remove(&s->detached, u);
	adafs_mutex_unlock(&s->lock);
	if (!last)
		return;
	/* Its file may be needed by nobody now. */
	if (db_begin(s) == 0)
		(void)db_end(s, data_dropped_locked(s, u->file));
	upload_free(u);
}
