/*
 * blobdir_rename.c - rename by server-side copy and delete. The copy is conditional on the source's
 * ETag, with RENAME_NOREPLACE also on the target's absence; the delete on the source still being
 * what was copied. A rename that fails between the two takes its copy back.
 */
#include "fs/blob/blobdir_rename.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/log.h"
#include "batch/base/random.h"
#include "fs/blob/names.h"

/*
 * The metadata of the new blob: the policy's, which speaks of the content while the time stays the
 * file's own, else the source's. A nonce tells a copy whose reply was lost from somebody else's
 * blob. *meta is to be cleared in any case.
 */
static int moved_meta(const struct move *m, const struct adafs_blob_props *props,
		      struct adafs_blob_meta *meta, struct adafs_err *reterr)
{
	const struct blobdir_policy *p = m->to->policy;
	char nonce[33];
	int rc = 0;
	if (p->before_rename)
		rc = p->before_rename(p->arg, m->old_blob, m->new_blob, props, meta, reterr);
	if (rc)
		return rc;
	const char *mtime = adafs_blob_meta_get(&props->meta, META_MTIME);
	if (!meta->n)
		rc = adafs_blob_meta_copy(meta, &props->meta);
	else
		rc = meta_carry(meta, &props->meta);
	if (!rc && mtime)
		rc = adafs_blob_meta_set(meta, META_MTIME, mtime);
	if (!rc) {
		adafs_random_hex(16, nonce);
		rc = adafs_blob_meta_set(meta, ADAFS_META_COPY, nonce);
	}
	return rc;
}

/* The source is not gone for sure, so the copy goes: both names would stand for the same work. */
static void drop_copy(const struct move *m, const char *etag)
{
	struct adafs_err err = { 0 };
	const struct adafs_blob_cond same = { .if_match = etag };
	int rc = adafs_blob_delete(m->call->fs->blob, m->to->container, m->new_blob, true, &same,
				   &err);
	if (rc && rc != -ENOENT)
		adafs_log(ERROR, "fs", "'%s' was copied to '%s' and both stay: %s", m->old_blob,
			  m->new_blob, err.msg);
}

/*
 * Delete what was copied. Where it is sure that this failed, the copy is taken back. Without an
 * answer the source may be gone after all: then both may stay, rather than none.
 */
static int delete_source(const struct move *m, const char *etag, const char *copy_etag,
			 struct adafs_err *reterr)
{
	const struct adafs_blob_cond same = { .if_match = etag };
	bool unknown = false;
	int rc = 0;
	for (int attempt = 0; attempt < 2; attempt++) {
		struct adafs_err err = { 0 };
		rc = adafs_blob_delete(m->call->fs->blob, m->from->container, m->old_blob, true,
				       &same, &err);
		if (!rc || rc == -ENOENT)
			return 0;
		unknown = unknown || err.outcome_unknown;
		adafs_err_copy(reterr, &err);
		/* Changed meanwhile: the same answer would come again. */
		if (rc == -ESTALE)
			break;
	}
	if (unknown)
		adafs_log(ERROR, "fs", "'%s' was copied to '%s', and may have stayed: %s",
			  m->old_blob, m->new_blob, reterr->msg);
	else
		drop_copy(m, copy_etag);
	return rc;
}

int rename_blob(const struct move *m, const struct adafs_blob_props *props,
		struct blob_entry **ret_entry, struct adafs_err *reterr)
{
	const struct blobdir_policy *p = m->to->policy;
	struct adafs_blob_meta meta = { 0 };
	struct adafs_blob_props now = *props;
	const struct adafs_blob_cond cond = { .if_none_match = m->no_replace ? "*" : NULL };
	ADAFS_FREE char *prefix = NULL;
	const char *name;
	int rc = blob_split(m->new_blob, &prefix, &name);
	if (!rc)
		rc = moved_meta(m, props, &meta, reterr);
	now.meta = meta;
	if (!rc)
		rc = adafs_blob_copy(m->call->fs->blob, m->from->container, m->old_blob,
				     props->etag, m->to->container, m->new_blob, &meta, &cond,
				     now.etag, reterr);
	if (!rc && !(*ret_entry = blob_entry_new(name, &now))) {
		drop_copy(m, now.etag);
		rc = -ENOMEM;
	}
	if (!rc) {
		rc = delete_source(m, props->etag, now.etag, reterr);
		if (rc)
			blob_entry_unref(ADAFS_STEAL(*ret_entry));
	}
	if (!rc && p->renamed)
		p->renamed(p->arg, m->old_blob, m->new_blob, &now);
	adafs_blob_meta_clear(&meta);
	return rc;
}

int rename_node(struct node *dir, const char *name, const char *version, struct node *newdir,
		const char *newname, struct blob_entry *e)
{
	struct node *n = node_find(dir->fs, dir, name, version);
	if (!n)
		return 0;
	if (bnode_of(n)->view != bnode_of(newdir)->view) {
		node_unref(n);
		return 0;
	}
	/* Name first: a reader that is made between the two fails, and is made again for the new
	 * ETag. */
	int rc = node_move(n, newdir, newname, e && !e->is_dir ? e->etag : "");
	if (e && !rc)
		bnode_set_entry(n, e);
	node_unref(n);
	return rc;
}

/*
 * --- files -------------------------------------------------------------------------------------
 */
static void place_clear(struct place *p)
{
	free(p->prefix);
	free(p->blob);
	blob_entry_unref(p->entry);
	wfile_unref(p->w);
	blobdir_let_go(&p->hold, false);
}

static int place_init(struct call *c, struct place *p, struct node *dir, const char *name)
{
	struct adafs_err err = { 0 };
	*p = (struct place){ .dir = dir, .name = name, .view = bnode_of(dir)->view };
	p->prefix = blobdir_prefix(dir);
	p->blob = blobdir_blob_in(dir, name);
	if (!p->prefix || !p->blob)
		return -ENOMEM;
	p->w = wfile_find(c->fs, dir, name);
	int rc = blobs_lookup(c->fs->blobs, p->view->container, p->prefix, name, true, &p->entry,
			      &err);
	return rc == -ENOENT ? 0 : blobdir_log(rc, "lookup", p->view->container, p->blob, &err);
}

static int copy_and_delete(struct call *c, struct place *from, struct place *to, bool no_replace,
			   struct blob_entry **ret)
{
	struct adafs_blob_props props;
	struct adafs_err err = { 0 };
	const struct move m = { .call = c,
				.from = from->view,
				.to = to->view,
				.old_blob = from->blob,
				.new_blob = to->blob,
				.no_replace = no_replace };
	int rc = blob_entry_props(from->entry, &props);
	if (rc)
		return rc;
	rc = rename_blob(&m, &props, ret, &err);
	adafs_blob_props_clear(&props);
	/* What stands at either name is not known. */
	if (rc && rc != -EXDEV && rc != -EBADMSG) {
		blobs_forget(c->fs->blobs, from->view->container, from->prefix, false);
		blobs_forget(c->fs->blobs, to->view->container, to->prefix, false);
	}
	return blobdir_log(rc, "rename", from->view->container, from->blob, &err);
}

/* A file that is being written follows its name; what it replaces at the new place is its base
 * there. */
static int rename_written(struct call *c, struct place *from, struct place *to, bool no_replace)
{
	struct wfile *w = from->w;
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *moved = NULL;
	int rc = 0;
	/* What it was told for belongs to the old name. */
	wfile_tell(w);
	blob_entry_unref(from->entry);
	from->entry = w->base ? blob_entry_ref(w->base) : NULL;
	/* A base that the view hides has not been this file's name yet: the new file goes, the old
	 * blob stays. */
	bool committed = bnode_entry_is(w->node, from->entry);
	if (from->entry && committed)
		rc = copy_and_delete(c, from, to, no_replace, &moved);
	if (!rc)
		rc = wfile_move(w, to->dir, to->name, moved ? moved : to->entry);
	if (!rc && moved) {
		rc = node_move(w->node, to->dir, to->name, moved->etag);
		if (!rc)
			bnode_set_entry(w->node, moved);
	} else if (!rc) {
		rc = node_move(w->node, to->dir, to->name, w->node->version);
	}
	if (rc)
		return rc;
	if (committed)
		blobs_put(c->fs->blobs, from->view->container, from->prefix, from->name, NULL);
	if (moved)
		blobs_put(c->fs->blobs, to->view->container, to->prefix, to->name, moved);
	return 0;
}

static int rename_stored(struct call *c, struct place *from, struct place *to, bool no_replace)
{
	ADAFS_CLEANUP(blob_entry_unrefp) struct blob_entry *moved = NULL;
	int rc = copy_and_delete(c, from, to, no_replace, &moved);
	if (rc)
		return rc;
	blobs_put(c->fs->blobs, from->view->container, from->prefix, from->name, NULL);
	blobs_put(c->fs->blobs, to->view->container, to->prefix, to->name, moved);
	return rename_node(from->dir, from->name, from->entry->etag, to->dir, to->name, moved);
}

/* Nothing of either file is committed while it moves; by address, so that two renames cannot wait
 * for each other. */
static void begin_both(const struct place *from, const struct place *to)
{
	struct wfile *a = from->w, *b = to->w;
	if (a > b) {
		a = to->w;
		b = from->w;
	}
	if (a)
		wfile_begin(a);
	if (b && b != a)
		wfile_begin(b);
}

static void end_both(const struct place *from, const struct place *to)
{
	if (from->w)
		wfile_end(from->w);
	if (to->w && to->w != from->w)
		wfile_end(to->w);
}

/* Before what stands at a place goes; with `keep` its readers do not go along. */
static void hold_place(struct call *c, struct place *p, bool keep)
{
	struct node *n = p->entry ? node_find(c->fs, p->dir, p->name, p->entry->etag) : NULL;
	blobdir_hold(p->w ? p->w->node : n, p->w, keep, &p->hold);
	if (p->hold.w && !p->w)
		p->w = wfile_of(p->hold.node);
	node_unref(n);
}

static int rename_file(struct call *c, struct place *from, struct place *to, bool no_replace)
{
	if (to->entry && to->entry->is_dir)
		return -EISDIR;
	if (no_replace && (to->w || (to->entry && blobdir_shown(to->dir, to->entry))))
		return -EEXIST;
	/* The service does not let a copy change the kind of a blob. */
	if (from->entry && to->entry && from->entry->type != to->entry->type)
		return -EPERM;
	/* A hidden blob is not there for the user: it may be replaced. */
	if (to->entry)
		no_replace = false;
	hold_place(c, to, true);
	hold_place(c, from, false);
	begin_both(from, to);
	/* It may have been committed since it was looked up. */
	if (to->w && to->w != from->w) {
		blob_entry_unref(to->entry);
		to->entry = to->w->base ? blob_entry_ref(to->w->base) : NULL;
		wfile_save(to->w);
	}
	int rc = from->w ? rename_written(c, from, to, no_replace)
			 : rename_stored(c, from, to, no_replace);
	/* A file that was being written under the new name has lost it. */
	if (!rc && to->w && to->w != from->w)
		wfile_unlink(to->w);
	end_both(from, to);
	blobdir_let_go(&to->hold, !rc);
	blobdir_let_go(&from->hold, false);
	if (!rc)
		blobdir_keep(from->dir);
	return rc;
}

/* --- entry
 * ----------------------------------------------------------------------------------------- */
static int rename_places(struct call *c, struct place *from, struct place *to, bool no_replace)
{
	if (!from->w && !from->entry)
		return -ENOENT;
	if (!strcmp(from->blob, to->blob) && !strcmp(from->view->container, to->view->container))
		return 0;
	bool is_dir = !from->w && from->entry->is_dir;
	/* Nodes of directories and of files being written belong to their view. A closed file is
	 * looked up again. */
	if ((is_dir || from->w) && from->view != to->view)
		return -EXDEV;
	return is_dir ? rename_dir(c, from, to, no_replace) : rename_file(c, from, to, no_replace);
}

int blobdir_rename(struct call *c, struct node *dir, const char *name, struct node *newdir,
		   const char *newname, unsigned flags)
{
	if (newdir->ops != &blobdir_dir_ops)
		return -EXDEV;
	const struct view *from_view = bnode_of(dir)->view, *to_view = bnode_of(newdir)->view;
	if (to_view->policy->read_only || from_view->policy->read_only || c->fs->options->read_only)
		return -EROFS;
	/* Into or out of a view that attaches a meaning to its files, bytes have to pass its
	 * checks: mv copies. */
	if (from_view->policy->kind != to_view->policy->kind)
		return -EXDEV;
	ADAFS_FREE char *blob = blobdir_blob_in(newdir, newname);
	int rc = blob ? names_check_blob(blob) : -ENOMEM;
	if (rc)
		return rc;
	if ((blobdir_extra_name(dir, name) && blobdir_has_extra(dir, true)) ||
	    (blobdir_extra_name(newdir, newname) && blobdir_has_extra(newdir, false)))
		return -EPERM;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	struct place from, to = { 0 };
	rc = place_init(c, &from, dir, name);
	if (!rc)
		rc = place_init(c, &to, newdir, newname);
	if (!rc)
		rc = rename_places(c, &from, &to, flags & RENAME_NOREPLACE);
	place_clear(&from);
	place_clear(&to);
	return rc;
}
