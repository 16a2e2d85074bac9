/*
 * foreman/view.c - snapshots with reference counts; a job that did not change is shared by the old
 * view and the new. Built by whoever holds the foreman's lock, read by any thread without one.
 */
#include "batch/foreman/view.h"

#include <stdatomic.h>
#include <string.h>

#include "batch/base/buf.h"

struct job_snap {
	atomic_int refs;
	struct adafs_job_view view; /* its arrays and texts are in one block behind it */
	void *block;
};

/* A view with what keeps it alive; the public part first. */
struct view_box {
	struct adafs_view view;
	atomic_int refs;
	struct job_snap **snap;
	size_t n_snaps;
	char *inbox_texts;
	char *texts;
};

/*
 * Texts and arrays are laid out by the same code twice: once to measure (base NULL), once to write.
 */
struct arena {
	char *base;
	size_t len;
};

static void *arena_take(struct arena *a, size_t size)
{
	a->len = (a->len + 7) & ~(size_t)7;
	void *p = a->base ? a->base + a->len : NULL;
	a->len += size;
	return p;
}

static char *arena_text_len(struct arena *a, const char *text, size_t len)
{
	char *p = a->base ? a->base + a->len : NULL;
	a->len += len + 1;
	if (p) {
		memcpy(p, text, len);
		p[len] = 0;
	}
	return p;
}

static char *arena_text(struct arena *a, const char *text)
{
	return arena_text_len(a, text, strlen(text));
}

const char *adafs_state_name(enum adafs_state s)
{
	static const char *const name[] = {
		[ADAFS_STATE_WAITING] = "waiting",     [ADAFS_STATE_QUEUED] = "queued",
		[ADAFS_STATE_RUNNING] = "running",     [ADAFS_STATE_COMPLETED] = "completed",
		[ADAFS_STATE_FAILED] = "failed",       [ADAFS_STATE_SKIPPED] = "skipped",
		[ADAFS_STATE_CANCELLED] = "cancelled", [ADAFS_STATE_EMPTY] = "empty",
	};
	return (size_t)s < ADAFS_ARRAY_SIZE(name) ? name[s] : "unknown";
}

/* The names of the steps that s depends on, one a line. */
static char *lay_depends(struct arena *a, const struct foreman_job *j, const struct foreman_step *s)
{
	char *start = a->base ? a->base + a->len : NULL;
	for (size_t i = 0; i < s->n_dep; i++) {
		const char *id = j->step[s->dep[i]].task_id;
		size_t len = strlen(id);
		if (a->base) {
			memcpy(a->base + a->len, id, len);
			a->base[a->len + len] = '\n';
		}
		a->len += len + 1;
	}
	if (a->base)
		a->base[a->len] = 0;
	a->len++;
	return start;
}

static char *lay_batch_task(struct arena *a, const struct foreman_job *j,
			    const struct foreman_step *s)
{
	char prefix[ADAFS_PLAN_PREFIX_LEN];
	foreman_job_task_prefix(j, prefix);
	char *id = arena_text(a, prefix);
	a->len--; /* its end is where the other text begins */
	arena_text(a, s->task_id);
	return id;
}

static void lay_step(struct arena *a, const struct foreman_job *j, const struct foreman_step *s,
		     struct adafs_step_view *v)
{
	struct adafs_step_view out = {
		.place = (unsigned)(s - j->step) + 1,
		.number = s->number,
		.name = arena_text(a, s->name),
		.task_id = arena_text(a, s->task_id),
		.batch_task_id = lay_batch_task(a, j, s),
		.state = s->state,
		.waiting_for = arena_text(a, s->waiting_for),
		.command = arena_text(a, s->command),
		.has_exit_code = s->has_exit_code,
		.exit_code = s->exit_code,
		.changed_us = s->changed_us,
		.started_us = s->started_us,
		.finished_us = s->finished_us,
		.node = arena_text(a, s->node),
		.failure = arena_text(a, s->failure),
		.depends_on = lay_depends(a, j, s),
		.work_prefix = arena_text(a, s->work_prefix),
		.task_running = s->task_running,
	};
	if (a->base)
		*v = out;
}

static void lay_job(struct arena *a, const struct foreman_job *j, struct adafs_job_view *v)
{
	struct adafs_step_view *steps = arena_take(a, j->n_steps * sizeof(*steps));
	char **images = arena_take(a, j->n_inputs * sizeof(char *));
	char **roles = arena_take(a, j->n_inputs * sizeof(char *));
	for (size_t i = 0; i < j->n_steps; i++)
		lay_step(a, j, &j->step[i], steps ? &steps[i] : NULL);
	for (size_t i = 0; i < j->n_inputs; i++) {
		char *blob = arena_text(a, j->input[i].blob);
		char *role = arena_text(a, j->input[i].role);
		if (a->base) {
			images[i] = blob;
			roles[i] = role;
		}
	}
	*v = (struct adafs_job_view){
		.id = arena_text(a, j->id),
		.batch_job_id = arena_text(a, j->batch_job_id),
		.event = arena_text(a, j->event),
		.pipeline = arena_text(a, j->pipeline),
		.digest = arena_text(a, j->digest),
		.unit = arena_text(a, j->unit),
		.state = j->state,
		.held = j->held || j->hold_wanted,
		.waiting_for = arena_text(a, j->waiting_for),
		.submitted = j->submitted,
		.images = images,
		.roles = roles,
		.n_images = j->n_inputs,
		.created_us = j->created_us,
		.changed_us = j->changed_us,
		.steps = steps,
		.n_steps = j->n_steps,
		.member = foreman_job_is_member(j),
		.work_removed = j->work != FOREMAN_WORK_KEPT,
		.newest = j->newest,
		.events = arena_text_len(a, adafs_buf_str(&j->events), j->events.len),
	};
}

static struct job_snap *snap_new(const struct foreman_job *j)
{
	struct job_snap *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	atomic_init(&s->refs, 1);
	struct arena a = { 0 };
	lay_job(&a, j, &s->view);
	a.base = s->block = calloc(1, a.len + 8);
	if (!a.base) {
		free(s);
		return NULL;
	}
	a.len = 0;
	lay_job(&a, j, &s->view);
	return s;
}

void job_snap_unref(struct job_snap *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	free(s->block);
	free(s);
}

/* The user has deleted it: nobody sees it any more, but as long as it still runs. */
static bool is_deleted(const struct foreman_job *j)
{
	return j->ended && j->deletion;
}

/* Which of an image's jobs its state is taken from: one that runs, else one that failed. */
static int weight(const struct foreman_job *j)
{
	return !j || is_deleted(j) ? -1 : !j->ended ? 2 : j->state == ADAFS_STATE_FAILED;
}

/* An image of a grid may be in several jobs. */
static void choose_shown(const struct view_input *in)
{
	for (size_t k = 0; k < in->images->n; k++) {
		struct foreman_image *i = in->images->item[k];
		i->shown = *i->job_id ? foreman_table_find(in->jobs, i->job_id) : NULL;
	}
	for (size_t k = 0; k < in->jobs->n; k++) {
		const struct foreman_job *j = in->jobs->item[k];
		for (size_t n = 0; *j->unit && j->newest && n < j->n_inputs; n++) {
			struct foreman_image *i = foreman_table_find(in->images, j->input[n].blob);
			if (i && *i->job_id && weight(j) > weight(i->shown))
				i->shown = j;
		}
	}
}

/*
 * An image stays in inbox/ until its job has ended well; a failed one stays to be seen. Of an image
 * whose job is deleted the view says so.
 */
static bool in_inbox(const struct foreman_image *i, bool *ret_deleted)
{
	*ret_deleted = i->shown && is_deleted(i->shown);
	return !i->shown || *ret_deleted || weight(i->shown) > 0;
}

static size_t lay_inbox(struct arena *a, const struct view_input *in,
			struct adafs_inbox_view *entries)
{
	size_t n = 0;
	for (size_t k = 0; k < in->images->n; k++) {
		const struct foreman_image *i = in->images->item[k];
		bool deleted;
		if (!in_inbox(i, &deleted))
			continue;
		struct adafs_inbox_view v = {
			.blob = arena_text(a, i->blob),
			.job_id = arena_text(a, i->shown ? i->shown->id : i->job_id),
			.waiting_for = arena_text(a, *i->job_id ? "" : i->waiting_for),
			.waiting_us = i->waiting_us,
			.deleted = deleted,
		};
		if (entries)
			entries[n] = v;
		n++;
	}
	return n;
}

static int make_inbox(struct view_box *box, const struct view_input *in)
{
	struct arena a = { 0 };
	choose_shown(in);
	size_t n = lay_inbox(&a, in, NULL);
	box->view.inbox = calloc(n + 1, sizeof(*box->view.inbox));
	a.base = box->inbox_texts = malloc(a.len + 1);
	if (!box->view.inbox || !a.base)
		return -1;
	a.len = 0;
	box->view.n_inbox = lay_inbox(&a, in, box->view.inbox);
	return 0;
}

static int make_jobs(struct view_box *box, const struct view_input *in)
{
	size_t n = in->jobs->n;
	box->view.jobs = calloc(n + 1, sizeof(*box->view.jobs));
	box->snap = calloc(n + 1, sizeof(*box->snap));
	if (!box->view.jobs || !box->snap)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct foreman_job *j = in->jobs->item[i];
		if (is_deleted(j))
			continue;
		if (j->dirty || !j->snap) {
			struct job_snap *s = snap_new(j);
			if (!s)
				return -1;
			job_snap_unref(j->snap);
			j->snap = s;
			j->dirty = false;
		}
		atomic_fetch_add(&j->snap->refs, 1);
		box->view.jobs[box->n_snaps] = j->snap->view;
		box->snap[box->n_snaps++] = j->snap;
	}
	box->view.n_jobs = box->n_snaps;
	return 0;
}

struct adafs_view *view_make(const struct view_input *in)
{
	struct view_box *box = calloc(1, sizeof(*box));
	if (!box)
		return NULL;
	atomic_init(&box->refs, 1);
	struct arena a = { 0 };
	size_t len = strlen(in->pool_state) + strlen(in->trouble) + strlen(in->batch_trouble) + 3;
	a.base = box->texts = malloc(len);
	if (!a.base || make_jobs(box, in) < 0 || make_inbox(box, in) < 0) {
		adafs_view_unref(&box->view);
		return NULL;
	}
	box->view.generation = in->generation;
	box->view.pool_state = arena_text(&a, in->pool_state);
	box->view.trouble = arena_text(&a, in->trouble);
	box->view.batch_trouble = arena_text(&a, in->batch_trouble);
	box->view.pool_nodes = in->pool_nodes;
	box->view.pool_slots = in->pool_slots;
	box->view.loaded = in->loaded;
	return &box->view;
}

struct adafs_view *view_ref(struct adafs_view *v)
{
	atomic_fetch_add(&ADAFS_CONTAINER_OF(v, struct view_box, view)->refs, 1);
	return v;
}

void adafs_view_unref(struct adafs_view *v)
{
	if (!v)
		return;
	struct view_box *box = ADAFS_CONTAINER_OF(v, struct view_box, view);
	if (atomic_fetch_sub(&box->refs, 1) != 1)
		return;
	for (size_t i = 0; i < box->n_snaps; i++)
		job_snap_unref(box->snap[i]);
	free(box->snap);
	free(box->view.jobs);
	free(box->view.inbox);
	free(box->inbox_texts);
	free(box->texts);
	free(box);
}

const struct adafs_job_view *adafs_view_job(const struct adafs_view *v, const char *id)
{
	size_t low = 0, high = v->n_jobs;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(v->jobs[mid].id, id);
		if (c == 0)
			return &v->jobs[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}
