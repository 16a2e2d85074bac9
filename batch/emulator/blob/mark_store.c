/* What marks a blob or container without changing it: leases, tags, the tier; and the settings. */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "batch/base/clock.h"
#include "batch/emulator/blob/blob_error.h"

/* --- leases ---------------------------------------------------------------------------------- */

enum blob_lease_state lease_state(const struct blob_lease *l, int64_t now)
{
	if (!l->id)
		return LEASE_AVAILABLE;
	if (l->breaking)
		return now < l->end ? LEASE_BREAKING : LEASE_BROKEN;
	return now < l->end ? LEASE_LEASED : LEASE_EXPIRED;
}

bool lease_holds(const struct blob_lease *l, int64_t now)
{
	enum blob_lease_state state = lease_state(l, now);
	return state == LEASE_LEASED || state == LEASE_BREAKING;
}

void blob_lease_clear(struct blob_lease *l)
{
	free(l->id);
	*l = (struct blob_lease){ 0 };
}

static int lease_store(struct blob_store *s, enum stmt which, int64_t id,
		       const struct blob_lease *l)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, which);
	sqlite3_bind_int64(st, 1, id);
	db_lease_bind(st, 2, l);
	return db_run(st);
}

int lease_set_locked(struct blob_store *s, int64_t blob, const struct blob_lease *l)
{
	return lease_store(s, ST_BLOB_SET_LEASE, blob, l);
}

typedef int lease_change(void *arg, struct blob_lease *l, blob_stamp stamp);

static int container_lease_locked(struct blob_store *s, const char *container, lease_change *change,
				  void *arg, blob_stamp *ret_stamp)
{
	struct blob_lease l = { 0 };
	bool oom = false;
	int64_t id = 0;
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_CONTAINER_GET);
	db_text(st, 1, container);
	int rc = db_step(st);
	if (rc == 1) {
		id = sqlite3_column_int64(st, 0);
		*ret_stamp = sqlite3_column_int64(st, 2);
		l = db_lease_row(st, 5, &oom);
	}
	sqlite3_reset(st);
	rc = rc < 0 ? rc : rc == 0 ? BE_CONTAINER_NOT_FOUND : oom ? -ENOMEM : 0;
	if (rc == 0)
		rc = change(arg, &l, *ret_stamp);
	if (rc == 0)
		rc = lease_store(s, ST_CONTAINER_SET_LEASE, id, &l);
	blob_lease_clear(&l);
	return rc;
}

static int find_locked(struct blob_store *s, const char *container, const char *name,
		       blob_stamp snapshot, struct blob_info *ret)
{
	int64_t id;
	int rc = db_container_id(s->writer, container, &id);
	return rc == 0 ? db_blob_get(s->writer, id, name, snapshot, ret) : rc;
}

static int blob_lease_locked(struct blob_store *s, const char *container, const char *name,
			     lease_change *change, void *arg, blob_stamp *ret_stamp)
{
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	int rc = find_locked(s, container, name, BLOB_SNAPSHOT_NONE, &b);
	if (rc == 0)
		rc = change(arg, &b.lease, b.stamp);
	*ret_stamp = b.stamp;
	return rc == 0 ? lease_set_locked(s, b.id, &b.lease) : rc;
}

int store_lease(struct blob_store *s, const char *container, const char *name, lease_change *change,
		void *arg, blob_stamp *ret_stamp)
{
	blob_stamp stamp = 0;
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	rc = db_end(s, name ? blob_lease_locked(s, container, name, change, arg, &stamp)
			    : container_lease_locked(s, container, change, arg, &stamp));
	if (rc == 0)
		*ret_stamp = stamp;
	return rc;
}

/* --- tags and tier --------------------------------------------------------------------------- */

/* The service takes hours; clients that wait shall see both states in one sitting. */
#define REHYDRATE_US (10 * 1000000LL)
#define REHYDRATE_HIGH_US (2 * 1000000LL)

void blob_tier_settle(struct blob_info *b)
{
	int64_t takes = b->rehydrate_high ? REHYDRATE_HIGH_US : REHYDRATE_US;
	if (!b->rehydrate || adafs_clock_wall_us() < b->tier_stamp + takes)
		return;
	free(b->tier);
	b->tier = ADAFS_STEAL(b->rehydrate);
	b->tier_stamp += takes;
}

static int set_tags_locked(struct blob_store *s, const struct blob_info *b, const char *tags)
{
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_SET_TAGS);
	sqlite3_bind_int64(st, 1, b->id);
	db_text(st, 2, tags);
	return db_run(st);
}

int store_blob_set_tags(struct blob_store *s, const char *container, const char *name,
			blob_stamp snapshot, const char *tags, blob_guard *guard, void *arg)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	rc = find_locked(s, container, name, snapshot, &b);
	if (rc == 0)
		rc = guard(arg, &b);
	return db_end(s, rc == 0 ? set_tags_locked(s, &b, tags) : rc);
}

static int set_tier_locked(struct blob_store *s, const struct blob_info *b, const char *tier,
			   bool high, bool *ret_rehydrating)
{
	bool archived = b->tier && strcmp(b->tier, "Archive") == 0;
	bool leaves = archived && strcmp(tier, "Archive") != 0;
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_SET_TIER);
	sqlite3_bind_int64(st, 1, b->id);
	db_text(st, 2, leaves ? b->tier : tier);
	sqlite3_bind_int64(st, 3, db_stamp_locked(s));
	db_text(st, 4, leaves ? tier : NULL);
	sqlite3_bind_int(st, 5, leaves && high);
	*ret_rehydrating = leaves;
	return db_run(st);
}

int store_blob_set_tier(struct blob_store *s, const char *container, const char *name,
			blob_stamp snapshot, const char *tier, bool high, blob_guard *guard,
			void *arg, bool *ret_rehydrating)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	ADAFS_CLEANUP(blob_info_clear) struct blob_info b = { 0 };
	bool rehydrating = false;
	rc = find_locked(s, container, name, snapshot, &b);
	if (rc == 0)
		rc = guard(arg, &b);
	if (rc == 0)
		rc = set_tier_locked(s, &b, tier, high, &rehydrating);
	rc = db_end(s, rc);
	if (rc == 0)
		*ret_rehydrating = rehydrating;
	return rc;
}

/* --- settings -------------------------------------------------------------------------------- */

int store_setting_set(struct blob_store *s, const char *name, const char *text)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	struct sqlite3_stmt *st = db_stmt(s->writer, text ? ST_SETTING_SET : ST_SETTING_DELETE);
	db_text(st, 1, name);
	if (text)
		db_text(st, 2, text);
	return db_end(s, db_run(st));
}

int store_setting_get(struct blob_store *s, const char *name, char **ret)
{
	bool oom = false;
	struct db *db = db_reader_get(s);
	struct sqlite3_stmt *st = db_stmt(db, ST_SETTING_GET);
	db_text(st, 1, name);
	int rc = db_step(st);
	char *text = rc == 1 ? db_column_text(st, 0, &oom) : NULL;
	sqlite3_reset(st);
	db_reader_put(s, db);
	if (rc < 0 || oom)
		return rc < 0 ? rc : -ENOMEM;
	*ret = text;
	return 0;
}
