/* plan_shape.c - where references lie on a node, and by which path the command sees them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/pipeline/build.h"

static const struct model_output *output_of(const struct build *b, const struct piece *ref)
{
	return &b->p->steps[ref->index].outputs[ref->output];
}

static bool is_folder(const struct build *b, const struct piece *ref)
{
	switch (ref->kind) {
	case PIECE_INPUT:
		return b->p->inputs[ref->index].many;
	case PIECE_ASSET:
		return b->p->named[ref->index].folder;
	case PIECE_OUTPUT:
		return output_of(b, ref)->folder;
	default:
		return true;
	}
}

static const char *blob_base(const char *blob)
{
	const char *slash = strrchr(blob, '/');
	return slash ? slash + 1 : blob;
}

/* An asset's name goes into commands: everything unusual becomes '_'. */
static char *safe_name(const char *name)
{
	char *copy = strdup(name);
	for (char *c = copy; c && *c; c++) {
		bool keep = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			    (*c >= '0' && *c <= '9') || strchr("._-+=", *c);
		if (!keep || (c == copy && (*c == '-' || *c == '.')))
			*c = '_';
	}
	return copy;
}

/* The file's own name on the node; folders have none. free(). */
static char *file_name(const struct build *b, const struct piece *ref)
{
	if (ref->kind == PIECE_ASSET)
		return safe_name(blob_base(b->p->assets[b->p->named[ref->index].first].blob));
	if (ref->kind == PIECE_OUTPUT)
		return strdup(output_of(b, ref)->base);
	for (size_t i = 0; i < b->req->n_images; i++)
		if (b->req->images[i].role == ref->index)
			return strdup(b->names[i]);
	return strdup("x");
}

/* The folder below in/ that belongs to a reference alone: names have no dot. free(). */
static char *own_folder(const struct build *b, const struct piece *ref)
{
	switch (ref->kind) {
	case PIECE_INPUT:
		return adafs_fmt("in/%s", b->p->inputs[ref->index].name);
	case PIECE_ASSET:
		return adafs_fmt("in/%s", b->p->named[ref->index].name);
	case PIECE_OUTPUT:
		return adafs_fmt("in/%s.%s", b->p->steps[ref->index].name, output_of(b, ref)->name);
	default:
		return strdup("in/parts");
	}
}

static char *join(const char *folder, const char *name)
{
	return folder && name ? adafs_fmt("%s/%s", folder, name) : NULL;
}

static bool same_ref(const struct piece *a, const struct piece *b)
{
	return a->kind == b->kind && a->index == b->index && a->output == b->output;
}

static char *place_path(const struct build *b, const struct model_place *place)
{
	if (!place->into || is_folder(b, &place->ref))
		return strdup(place->path);
	ADAFS_FREE char *name = file_name(b, &place->ref);
	return join(place->path, name);
}

static char *default_path(const struct build *b, const struct piece *ref)
{
	ADAFS_FREE char *folder = own_folder(b, ref);
	if (is_folder(b, ref))
		return ADAFS_STEAL(folder);
	ADAFS_FREE char *name = file_name(b, ref);
	return join(folder, name);
}

char *build_ref_path(const struct build *b, const struct model_step *s, const struct piece *ref)
{
	for (size_t i = 0; i < s->n_places; i++)
		if (same_ref(&s->places[i].ref, ref))
			return place_path(b, &s->places[i]);
	return default_path(b, ref);
}

/* Where the staged thing lies before the wrapper shapes it. free(). */
static char *source_path(const struct build *b, const struct piece *ref)
{
	if (ref->kind == PIECE_PARTS)
		return strdup(".adafs/chosen"); /* the wrapper picks the newest ones */
	if (ref->kind == PIECE_ASSET && b->p->named[ref->index].optional)
		return adafs_fmt(STAGE "%s", b->p->assets[b->p->named[ref->index].first].blob);
	ADAFS_FREE char *path = default_path(b, ref);
	return path ? adafs_fmt(".adafs/%s", path) : NULL;
}

static bool is_optional(const struct build *b, const struct piece *ref)
{
	if (ref->kind == PIECE_ASSET)
		return b->p->named[ref->index].optional;
	return ref->kind == PIECE_PARTS;
}

/* What one task of the producer left; a shard's share of it, where the reader is split. */
static int add_output(const struct build *b, struct adafs_buf *to, const struct adafs_plan_step *t,
		      const struct piece *ref, const struct adafs_plan_step *from,
		      const char *target)
{
	const struct model_output *o = output_of(b, ref);
	ADAFS_FREE char *folder = build_out(b, from, o);
	ADAFS_FREE char *end = build_end(b, from);
	if (!folder || !end)
		return -ENOMEM;
	if (!o->folder)
		return adafs_buf_addf(to, "%s\tfile\t" STAGE "%s/%s\t%s\t%s\t%s\n",
				      o->optional ? "may" : "must", folder, o->base, target, end,
				      o->name);
	if (build_is_share(b, t, ref))
		return adafs_buf_addf(to, "share\tdir\t" STAGE "%s/%d\t%s\t%s\t%s/%d\n", folder,
				      t->shard, target, end, o->name, t->shard);
	const char *need = o->optional ? "may" : from->shard >= 0 ? "some" : "must";
	return adafs_buf_addf(to, "%s\tdir\t" STAGE "%s\t%s\t%s\t%s\n", need, folder, target, end,
			      o->name);
}

static int add_input(const struct build *b, struct adafs_buf *to, const struct adafs_plan_step *t,
		     const struct piece *ref, const char *path, bool into)
{
	if (!path)
		return -ENOMEM;
	ADAFS_FREE char *target = adafs_fmt("%s%s", path, into && is_folder(b, ref) ? "/" : "");
	if (!target)
		return -ENOMEM;
	if (ref->kind == PIECE_OUTPUT) {
		size_t n;
		int rc = 0;
		const struct adafs_plan_step *from = build_producers(b, t, ref, &n);
		for (size_t k = 0; rc == 0 && k < n; k++)
			rc = add_output(b, to, t, ref, &from[k], target);
		return rc;
	}
	ADAFS_FREE char *source = source_path(b, ref);
	if (!source)
		return -ENOMEM;
	return adafs_buf_addf(to, "%s\t%s\t%s\t%s\t-\t-\n", is_optional(b, ref) ? "may" : "must",
			      is_folder(b, ref) ? "dir" : "file", source, target);
}

int build_inputs(const struct build *b, const struct adafs_plan_step *t, char **ret)
{
	const struct model_step *s = build_model(b, t);
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(1 << 20);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < s->n_uses; i++) {
		const struct piece *ref = &s->uses[i];
		bool placed = false;
		for (size_t k = 0; rc == 0 && k < s->n_places; k++) {
			if (!same_ref(&s->places[k].ref, ref))
				continue;
			ADAFS_FREE char *target = place_path(b, &s->places[k]);
			rc = add_input(b, &buf, t, ref, target, s->places[k].into);
			placed = true;
		}
		if (!placed && rc == 0) {
			ADAFS_FREE char *target = default_path(b, ref);
			rc = add_input(b, &buf, t, ref, target, false);
		}
	}
	char *text = rc == 0 ? adafs_buf_steal(&buf, NULL) : NULL;
	if (!text)
		return rc < 0 ? rc : -ENOMEM;
	*ret = text;
	return 0;
}

static int add_piece(const struct build *b, const struct model_step *s, const struct piece *piece,
		     struct adafs_buf *to)
{
	if (piece->kind == PIECE_TEXT)
		return adafs_buf_add(to, piece->text, piece->len);
	if (piece->kind == PIECE_UNIT)
		return adafs_buf_adds(to, b->req->unit);
	ADAFS_FREE char *path = build_ref_path(b, s, piece);
	return path ? adafs_buf_adds(to, path) : -ENOMEM;
}

int build_command(const struct build *b, const struct model_step *s, char **ret)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf buf = ADAFS_BUF_INIT(1 << 20);
	int rc = 0;
	/* Not a subshell: what the prelude exports must reach the command. */
	if (s->settings.prelude && s->command.n)
		rc = adafs_buf_addf(&buf, "{ %s\n} || exit\n", s->settings.prelude);
	for (size_t i = 0; rc == 0 && i < s->command.n; i++)
		rc = add_piece(b, s, &s->command.v[i], &buf);
	char *text = rc == 0 ? adafs_buf_steal(&buf, NULL) : NULL;
	if (!text)
		return rc < 0 ? rc : -ENOMEM;
	*ret = text;
	return 0;
}
