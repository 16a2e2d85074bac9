/* Containers and their stored access policies. */
#include "batch/emulator/blob/store_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "batch/emulator/blob/blob_error.h"

void blob_policy_clear(struct blob_policy *p)
{
	free(p->id);
	free(p->start);
	free(p->expiry);
	free(p->permission);
	*p = (struct blob_policy){ 0 };
}

void container_info_clear(struct container_info *c)
{
	free(c->name);
	free(c->access);
	free(c->metadata);
	blob_lease_clear(&c->lease);
	for (size_t i = 0; i < c->n_policies; i++)
		blob_policy_clear(&c->policies[i]);
	*c = (struct container_info){ 0 };
}

static int container_row(struct sqlite3_stmt *st, struct container_info *ret)
{
	bool oom = false;
	struct container_info c = {
		.id = sqlite3_column_int64(st, 0),
		.name = db_column_text(st, 1, &oom),
		.stamp = sqlite3_column_int64(st, 2),
		.access = db_column_text(st, 3, &oom),
		.metadata = db_column_text(st, 4, &oom),
		.lease = db_lease_row(st, 5, &oom),
	};
	if (oom) {
		container_info_clear(&c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

static int load_policies(struct db *db, struct container_info *c)
{
	struct sqlite3_stmt *st = db_stmt(db, ST_POLICY_LIST);
	sqlite3_bind_int64(st, 1, c->id);
	bool oom = false;
	int rc;
	while ((rc = db_step(st)) == 1 && c->n_policies < BLOB_MAX_POLICIES) {
		c->policies[c->n_policies++] = (struct blob_policy){
			.id = db_column_text(st, 0, &oom),
			.start = db_column_text(st, 1, &oom),
			.expiry = db_column_text(st, 2, &oom),
			.permission = db_column_text(st, 3, &oom),
		};
	}
	sqlite3_reset(st);
	return rc < 0 ? rc : oom ? -ENOMEM : 0;
}

static int container_get(struct db *db, const char *name, bool with_policies,
			 struct container_info *ret)
{
	struct container_info c = { 0 };
	struct sqlite3_stmt *st = db_stmt(db, ST_CONTAINER_GET);
	db_text(st, 1, name);
	int rc = db_step(st);
	if (rc == 1)
		rc = container_row(st, &c);
	else if (rc == 0)
		rc = BE_CONTAINER_NOT_FOUND;
	sqlite3_reset(st);
	if (rc == 0 && with_policies)
		rc = load_policies(db, &c);
	if (rc != 0) {
		container_info_clear(&c);
		return rc;
	}
	*ret = c;
	return 0;
}

int store_container_get(struct blob_store *s, const char *name, bool with_policies,
			struct container_info *ret)
{
	struct db *db = db_reader_get(s);
	int rc = container_get(db, name, with_policies, ret);
	db_reader_put(s, db);
	return rc;
}

int store_container_create(struct blob_store *s, const char *name, const char *access,
			   const char *metadata, blob_stamp *ret_stamp)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	blob_stamp stamp = db_stamp_locked(s);
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_CONTAINER_INSERT);
	db_text(st, 1, name);
	sqlite3_bind_int64(st, 2, stamp);
	db_text(st, 3, access);
	db_text(st, 4, metadata);
	sqlite3_bind_int64(st, 5, db_id_locked(s));
	rc = db_run(st);
	if (rc == -EEXIST)
		rc = BE_CONTAINER_ALREADY_EXISTS;
	rc = db_end(s, rc);
	if (rc == 0)
		*ret_stamp = stamp;
	return rc;
}

/* Begin a change of a container: what exists is shown to the guard. Ends the transaction if
 * refused. */
static int change_begin(struct blob_store *s, const char *name, container_guard *guard, void *arg,
			int64_t *ret_id)
{
	int rc = db_begin(s);
	if (rc < 0)
		return rc;
	ADAFS_CLEANUP(container_info_clear) struct container_info c = { 0 };
	rc = container_get(s->writer, name, false, &c);
	if (rc == 0 && guard)
		rc = guard(arg, &c);
	if (rc != 0)
		return db_end(s, rc);
	*ret_id = c.id;
	return 0;
}

static int release_contents_locked(struct blob_store *s, int64_t id)
{
	int64_t *contents = NULL;
	size_t n = 0;
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_BLOB_CONTENTS);
	sqlite3_bind_int64(st, 1, id);
	int rc;
	while ((rc = db_step(st)) == 1) {
		int64_t *grown = reallocarray(contents, n + 1, sizeof(*grown));
		if (!grown) {
			rc = -ENOMEM;
			break;
		}
		contents = grown;
		contents[n++] = sqlite3_column_int64(st, 0);
	}
	st = db_stmt(s->writer, ST_BLOB_DELETE_ALL);
	sqlite3_bind_int64(st, 1, id);
	if (rc == 0)
		rc = db_run(st);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = content_release_locked(s, contents[i]);
	free(contents);
	return rc;
}

static int run_with_id(struct db *db, enum stmt which, int64_t id)
{
	struct sqlite3_stmt *st = db_stmt(db, which);
	sqlite3_bind_int64(st, 1, id);
	return db_run(st);
}

int store_container_delete(struct blob_store *s, const char *name, container_guard *guard,
			   void *arg)
{
	int64_t id;
	int rc = change_begin(s, name, guard, arg, &id);
	if (rc != 0)
		return rc;
	rc = release_contents_locked(s, id);
	if (rc == 0)
		rc = staged_drop_locked(s, id, NULL);
	if (rc == 0)
		rc = run_with_id(s->writer, ST_POLICY_CLEAR, id);
	if (rc == 0)
		rc = run_with_id(s->writer, ST_CONTAINER_DELETE, id);
	return db_end(s, rc);
}

int store_container_set_metadata(struct blob_store *s, const char *name, const char *metadata,
				 container_guard *guard, void *arg, blob_stamp *ret_stamp)
{
	int64_t id;
	int rc = change_begin(s, name, guard, arg, &id);
	if (rc != 0)
		return rc;
	blob_stamp stamp = db_stamp_locked(s);
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_CONTAINER_SET_METADATA);
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int64(st, 2, stamp);
	db_text(st, 3, metadata);
	rc = db_end(s, db_run(st));
	if (rc == 0)
		*ret_stamp = stamp;
	return rc;
}

static int policy_insert(struct db *db, int64_t id, int seq, const struct blob_policy *p)
{
	struct sqlite3_stmt *st = db_stmt(db, ST_POLICY_INSERT);
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int(st, 2, seq);
	db_text(st, 3, p->id);
	db_text(st, 4, p->start);
	db_text(st, 5, p->expiry);
	db_text(st, 6, p->permission);
	return db_run(st);
}

int store_container_set_acl(struct blob_store *s, const char *name, const char *access,
			    const struct blob_policy *policies, size_t n, container_guard *guard,
			    void *arg, blob_stamp *ret_stamp)
{
	int64_t id;
	int rc = change_begin(s, name, guard, arg, &id);
	if (rc != 0)
		return rc;
	blob_stamp stamp = db_stamp_locked(s);
	struct sqlite3_stmt *st = db_stmt(s->writer, ST_CONTAINER_SET_ACCESS);
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int64(st, 2, stamp);
	db_text(st, 3, access);
	rc = db_run(st);
	if (rc == 0)
		rc = run_with_id(s->writer, ST_POLICY_CLEAR, id);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = policy_insert(s->writer, id, (int)i, &policies[i]);
	rc = db_end(s, rc);
	if (rc == 0)
		*ret_stamp = stamp;
	return rc;
}

int store_container_list(struct blob_store *s, const char *prefix, const char *from,
			 int (*each)(void *arg, const struct container_info *c), void *arg)
{
	struct db *db = db_reader_get(s);
	struct sqlite3_stmt *st = db_stmt(db, ST_CONTAINER_LIST);
	db_text(st, 1, strcmp(from, prefix) > 0 ? from : prefix);
	int rc;
	while ((rc = db_step(st)) == 1) {
		ADAFS_CLEANUP(container_info_clear) struct container_info c = { 0 };
		rc = container_row(st, &c);
		if (rc < 0 || strncmp(c.name, prefix, strlen(prefix)) != 0)
			break;
		rc = each(arg, &c);
		if (rc != 0)
			break;
	}
	sqlite3_reset(st);
	db_reader_put(s, db);
	return rc < 0 ? rc : 0;
}
