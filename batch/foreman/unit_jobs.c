/*
 * foreman/unit_jobs.c - a pipeline that goes by units: once nothing more is being copied into an
 * event, its images are sorted into units, and each unit that all roles cover gets a job. A unit
 * whose images are others than before gets a new one, which replaces the old one's part of the map.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/foreman/grouping.h"
#include "batch/foreman/units.h"

#define MAX_TEXT 4096

/* "cell 13.4823.6160: 2 images of pre, 1 of post touch it" */
static void unit_text(const struct adafs_pipeline *p, const struct foreman_members *m,
		      const struct units *u, const struct unit *unit, struct adafs_buf *out)
{
	bool grid = adafs_pipeline_grid_zoom(p) >= 0;
	adafs_buf_addf(out, "%s%s:", grid ? "cell " : "",
		       grid ? unit->id : "all images of the event");
	for (size_t r = 0; r < adafs_pipeline_n_inputs(p); r++) {
		size_t n = 0;
		for (size_t i = 0; i < unit->n; i++)
			n += m->role[u->member[unit->first + i]] == r;
		adafs_buf_addf(out, "%s %zu of %s", r ? "," : "", n,
			       adafs_pipeline_input(p, r)->name);
	}
}

static void assign_unit_locked(struct adafs_foreman *f, const struct foreman_event *e,
			       const struct foreman_members *m, const struct units *u,
			       const struct unit *unit) ADAFS_REQUIRES(&f->lock)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf why = ADAFS_BUF_INIT(MAX_TEXT);
	ADAFS_FREE struct foreman_image **image = calloc(unit->n, sizeof(struct foreman_image *));
	ADAFS_FREE size_t *role = calloc(unit->n, sizeof(*role));
	for (size_t i = 0; image && role && i < unit->n; i++) {
		image[i] = m->image[u->member[unit->first + i]];
		role[i] = m->role[u->member[unit->first + i]];
	}
	unit_text(e->pipeline, m, u, unit, &why);
	const struct foreman_group g = { .image = image,
					 .role = role,
					 .n = unit->n,
					 .why = adafs_buf_str(&why),
					 .unit = unit->id };
	if (image && role)
		foreman_assign_locked(f, e->pipeline, e->name, &g);
}

/* Why an image is in no unit. */
static void lonely_text(const struct foreman_event *e, const struct foreman_members *m,
			const struct units *u, size_t self, struct adafs_buf *out)
{
	const struct adafs_pipeline *p = e->pipeline;
	const char *name = strrchr(m->image[self]->blob, '/') + 1;
	int zoom = adafs_pipeline_grid_zoom(p);
	size_t n_lacking = 0;
	if (zoom >= 0 && u->n_cells[self] == 0) {
		adafs_buf_addf(out, "%s touches no cell of grid_zoom %d: it lies beyond the map",
			       name, zoom);
		return;
	}
	for (size_t r = 0; r < adafs_pipeline_n_inputs(p); r++) {
		const struct adafs_pipeline_input *in = adafs_pipeline_input(p, r);
		if (u->roles_near[self] >> r & 1)
			continue;
		adafs_buf_addf(out, "%s%s", n_lacking++ ? " and " : "waiting for images of ",
			       in->name);
		if (in->match)
			adafs_buf_addf(out, " (inbox/%s/%s)", e->name, in->match);
	}
	if (zoom < 0)
		return;
	if (n_lacking)
		adafs_buf_addf(out, " in a cell of grid_zoom %d that %s touches", zoom, name);
	else
		adafs_buf_addf(out,
			       "waiting for a cell of grid_zoom %d that %s and images of all other "
			       "roles touch",
			       zoom, name);
}

static void wait_locked(struct adafs_foreman *f, const struct foreman_event *e,
			const struct foreman_members *m, const struct units *u)
	ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE bool *in_unit = calloc(m->n + 1, sizeof(*in_unit));
	for (size_t k = 0; in_unit && k < u->n; k++)
		for (size_t i = 0; i < u->unit[k].n; i++)
			in_unit[u->member[u->unit[k].first + i]] = true;
	for (size_t i = 0; in_unit && i < m->n; i++) {
		ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf text = ADAFS_BUF_INIT(MAX_TEXT);
		if (in_unit[i])
			continue;
		lonely_text(e, m, u, i, &text);
		foreman_set_waiting_locked(f, m->image[i], adafs_buf_str(&text));
	}
}

static void make_units_locked(struct adafs_foreman *f, const struct foreman_event *e,
			      const struct foreman_members *m) ADAFS_REQUIRES(&f->lock)
{
	struct units u;
	ADAFS_FREE struct units_image *images = calloc(m->n + 1, sizeof(*images));
	for (size_t i = 0; images && i < m->n; i++)
		images[i] = (struct units_image){ m->role[i], &m->image[i]->geo };
	int rc = images ? units_make(images, m->n, adafs_pipeline_n_inputs(e->pipeline),
				     adafs_pipeline_grid_zoom(e->pipeline), &u)
			: -ENOMEM;
	if (rc < 0) {
		adafs_log(ERROR, "foreman", "the units of event '%s' cannot be told: %s", e->name,
			  rc == -E2BIG
				  ? "its images touch too many cells; choose a smaller grid_zoom"
				  : strerror(-rc));
		return;
	}
	for (size_t i = 0; i < u.n; i++)
		assign_unit_locked(f, e, m, &u, &u.unit[i]);
	wait_locked(f, e, m, &u);
	units_clear(&u);
}

/* Its jobs come when the event is whole. */
static void wait_for_rest_locked(struct adafs_foreman *f, struct foreman_image *i)
	ADAFS_REQUIRES(&f->lock)
{
	ADAFS_FREE char *text =
		adafs_fmt("waits for the rest of its event: it is taken for whole when "
			  "nothing was copied for %g s",
			  f->settle_ms / 1000.0);
	foreman_set_waiting_locked(f, i, text ? text : "waits for the rest of its event");
}

void foreman_resolve_unit_locked(struct adafs_foreman *f, const struct foreman_event *e,
				 struct foreman_image *self)
{
	struct foreman_members m;
	uint64_t now = adafs_clock_mono_ms();
	if (e->busy && !f->draining) {
		wait_for_rest_locked(f, self);
		foreman_look_at_locked(f, now + f->settle_ms / 4 + 1);
		return;
	}
	if (self->looked == f->resolve_number || foreman_members_locked(f, e, &m) < 0)
		return; /* with the others of its event */
	uint64_t at = foreman_settled_at_ms(f, e, &m);
	for (size_t i = 0; i < m.n; i++) {
		m.image[i]->looked = f->resolve_number;
		if (at > now && !m.image[i]->resolved)
			wait_for_rest_locked(f, m.image[i]);
	}
	if (at > now)
		foreman_look_at_locked(f, at);
	else
		make_units_locked(f, e, &m);
	foreman_members_clear(&m);
}
