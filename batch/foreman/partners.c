/*
 * foreman/partners.c - images of several roles become pairs, and those that have no partner say
 * what they wait for.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/foreman/grouping.h"
#include "batch/foreman/pairing.h"

#define RELOOK_MS 1000

/* A role that has no partner: "waiting for the pre partner of x.tif: copy it to ..." */
static void missing_text(const struct pairing *g, const struct adafs_pipeline *p, const char *event,
			 size_t self, size_t role, struct adafs_buf *out)
{
	const struct adafs_pipeline_input *in = adafs_pipeline_input(p, role);
	const char *name = strrchr(g->image[self].blob, '/') + 1;
	double share = 0, least = fmax(in->overlap, g->min_overlap[g->image[self].role]);
	size_t misfit = pairing_misfit(g, self, role, &share);
	ADAFS_FREE char *where = pairing_suggest(in->match, g->image[self].blob);
	if (misfit != SIZE_MAX)
		adafs_buf_addf(
			out,
			"%s overlaps %s, its %s partner by name, by %.0f %%, and pipeline '%s' "
			"takes %s%.0f %%: replace one of them",
			name, strrchr(g->image[misfit].blob, '/') + 1, in->name, 100 * share,
			adafs_pipeline_name(p), least > 0 ? "at least " : "more than ",
			100 * least);
	else
		adafs_buf_addf(out, "waiting for the %s partner of %s: copy it to inbox/%s/%s",
			       in->name, name, event, where ? where : name);
}

static void waiting_text(const struct pairing *g, const struct adafs_pipeline *p, const char *event,
			 size_t self, const size_t *partner, struct adafs_buf *out)
{
	for (size_t r = 0; r < g->n_roles; r++) {
		if (partner[r] != SIZE_MAX)
			continue;
		if (out->len)
			adafs_buf_adds(out, "; ");
		missing_text(g, p, event, self, r, out);
	}
}

/* A possible partner overlaps by little: it is taken when nothing better has come for a while. */
static void wait_for_better(struct adafs_foreman *f, const struct pairing *g, size_t self,
			    const size_t *partner, struct adafs_buf *out) ADAFS_REQUIRES(&f->lock)
{
	size_t r = g->image[self].role == 0 ? 1 : 0;
	ADAFS_FREE char *why = pairing_reason(&g->image[self], &g->image[partner[r]]);
	adafs_buf_addf(out, "%s and %s %s: they are paired when nothing was copied for %g s",
		       strrchr(g->image[self].blob, '/') + 1,
		       strrchr(g->image[partner[r]].blob, '/') + 1, why ? why : "belong together",
		       f->settle_ms / 1000.0);
	foreman_look_at_locked(f, adafs_clock_mono_ms() + f->settle_ms / 4);
}

static size_t find_image(struct foreman_image **images, size_t n, const char *blob)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(images[i]->blob, blob) == 0)
			return i;
	return SIZE_MAX;
}

/* An image that was committed again belongs to whom it belonged before. */
static bool same_group_locked(struct adafs_foreman *f, const struct foreman_image *self,
			      struct foreman_image **images, const struct pairing *g, size_t *ret)
	ADAFS_REQUIRES(&f->lock)
{
	const struct foreman_job *j =
		*self->job_id ? foreman_table_find(&f->jobs, self->job_id) : NULL;
	size_t found = 0;
	if (j && !foreman_job_is_current_locked(f, j))
		j = NULL;
	for (size_t r = 0; r < g->n_roles; r++)
		ret[r] = SIZE_MAX;
	for (size_t k = 0; j && k < j->n_inputs; k++) {
		size_t i = find_image(images, g->n, j->input[k].blob);
		if (i == SIZE_MAX || ret[g->image[i].role] != SIZE_MAX)
			return false;
		ret[g->image[i].role] = i;
		found++;
	}
	return j && found == g->n_roles;
}

static void assign_partners_locked(struct adafs_foreman *f, struct adafs_pipeline *p,
				   const char *event, const struct pairing *g,
				   struct foreman_image **images, const size_t *partner)
	ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE struct foreman_image **of_role =
		calloc(g->n_roles, sizeof(struct foreman_image *));
	ADAFS_FREE size_t *role = calloc(g->n_roles, sizeof(*role));
	struct adafs_buf why = ADAFS_BUF_INIT(16 * 1024);
	for (size_t r = 0; of_role && role && r < g->n_roles; r++) {
		const struct pairing_image *first = &g->image[partner[0]],
					   *i = &g->image[partner[r]];
		of_role[r] = images[partner[r]];
		role[r] = r;
		ADAFS_FREE char *one = r ? pairing_reason(first, i) : NULL;
		if (r)
			adafs_buf_addf(&why, "%s%s and %s %s", r > 1 ? "; " : "", first->blob,
				       i->blob, one ? one : "belong together");
	}
	const struct foreman_group group = { .image = of_role,
					     .role = role,
					     .n = g->n_roles,
					     .why = adafs_buf_str(&why),
					     .unit = "" };
	if (of_role && role)
		foreman_assign_locked(f, p, event, &group);
	adafs_buf_clear(&why);
}

static void pair_locked(struct adafs_foreman *f, struct adafs_pipeline *p, const char *event,
			struct foreman_image *self, struct pairing *g,
			struct foreman_image **images) ADAFS_REQUIRES(&f->lock)
{
	struct adafs_buf text = ADAFS_BUF_INIT(8192);
	ADAFS_FREE size_t *partner = calloc(g->n_roles, sizeof(*partner));
	ADAFS_FREE double *least = calloc(g->n_roles, sizeof(*least));
	size_t at = find_image(images, g->n, self->blob);
	if (!partner || !least || at == SIZE_MAX)
		return;
	for (size_t r = 0; r < g->n_roles; r++)
		least[r] = adafs_pipeline_input(p, r)->overlap;
	g->min_overlap = least;
	enum pairing_verdict verdict = same_group_locked(f, self, images, g, partner)
					       ? PAIRING_FOUND
					       : pairing_find(g, at, partner);
	if (verdict == PAIRING_FOUND)
		assign_partners_locked(f, p, event, g, images, partner);
	else if (verdict == PAIRING_WEAK)
		wait_for_better(f, g, at, partner, &text);
	else
		waiting_text(g, p, event, at, partner, &text);
	/* What waits already may have to say something else now: in a moment, for more may come. */
	if (text.len && foreman_set_waiting_locked(f, self, adafs_buf_str(&text)) &&
	    !f->resolve_at_ms)
		foreman_look_at_locked(f, adafs_clock_mono_ms() + RELOOK_MS);
	adafs_buf_clear(&text);
}

void foreman_resolve_partners_locked(struct adafs_foreman *f, const struct foreman_event *e,
				     struct foreman_image *self)
{
	struct foreman_members m;
	if (foreman_members_locked(f, e, &m) < 0)
		return;
	struct pairing_image *list = calloc(m.n + 1, sizeof(*list));
	for (size_t i = 0; list && i < m.n; i++)
		list[i] = (struct pairing_image){ .blob = m.image[i]->blob,
						  .role = m.role[i],
						  .geo = &m.image[i]->geo,
						  .taken = m.image[i]->resolved &&
							   *m.image[i]->job_id };
	struct pairing g = { .image = list,
			     .n = m.n,
			     .n_roles = adafs_pipeline_n_inputs(e->pipeline),
			     .quiet = foreman_settled_at_ms(f, e, &m) <= adafs_clock_mono_ms() };
	if (list)
		pair_locked(f, e->pipeline, e->name, self, &g, m.image);
	free(list);
	foreman_members_clear(&m);
}
