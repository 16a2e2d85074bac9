/* Task counts as they were: a few moments for each job, thinned out when they become many. */
#include "batch/emulator/batch/engine/counts_history.h"

#include <stdlib.h>
#include <string.h>

#define MOMENTS 256

struct counts_history {
	size_t n;
	struct {
		int64_t us;
		struct task_counts counts;
	} at[MOMENTS]; /* in order of time */
};

/* Keep every second moment, and the last. */
static void thin(struct counts_history *h)
{
	size_t n = 0;
	for (size_t i = 0; i < h->n; i++)
		if (i % 2 == 0 || i + 1 == h->n)
			h->at[n++] = h->at[i];
	h->n = n;
}

void counts_note_locked(struct job *j, int64_t now_us)
{
	struct counts_history *h = j->history;
	if (!h) {
		h = j->history = calloc(1, sizeof(*h));
		if (!h)
			return;
		/* Before the first moment the job had no tasks, unless the trap was set later. */
		if (j->counts.running + j->counts.succeeded + j->counts.failed == 0)
			h->at[h->n++].us = INT64_MIN;
	}
	if (h->n && memcmp(&h->at[h->n - 1].counts, &j->counts, sizeof(j->counts)) == 0)
		return;
	if (h->n == MOMENTS)
		thin(h);
	h->at[h->n].us = now_us;
	h->at[h->n++].counts = j->counts;
}

struct task_counts counts_at_locked(const struct job *j, int64_t us)
{
	const struct counts_history *h = j->history;
	if (!h || !h->n)
		return j->counts;
	size_t i = h->n;
	while (i > 1 && h->at[i - 1].us > us)
		i--;
	return h->at[i - 1].counts;
}
