/*
 * plan_shards.c - a step with `shards` is so many tasks. What a whole step hands to a split one
 * lies in folders 0/, 1/, ... of its output, a share each; what a split one hands to a whole one
 * comes together again; two split ones of the same width go hand in hand.
 */
#include <stdlib.h>

#include "batch/pipeline/build.h"

const struct adafs_plan_step *build_producers(const struct build *b,
					      const struct adafs_plan_step *t,
					      const struct piece *ref, size_t *ret_n)
{
	const struct adafs_plan_step *first = &b->plan->steps[b->first[ref->index]];
	int width = build_width(b, ref->index);
	bool side_by_side = t->shard >= 0 && width > 1 && width == build_width(b, t->model);
	*ret_n = side_by_side ? 1 : (size_t)width;
	return side_by_side ? first + t->shard : first;
}

bool build_is_share(const struct build *b, const struct adafs_plan_step *t, const struct piece *ref)
{
	return t->shard >= 0 && ref->kind == PIECE_OUTPUT && build_width(b, ref->index) == 1 &&
	       b->p->steps[ref->index].outputs[ref->output].folder;
}

int build_shares(const struct build *b, size_t model, size_t output)
{
	if (build_width(b, model) > 1 || !b->p->steps[model].outputs[output].folder)
		return 0;
	for (size_t i = 0; i < b->p->n_steps; i++) {
		const struct model_step *s = &b->p->steps[i];
		for (size_t k = 0; s->shards > 1 && k < s->n_uses; k++)
			if (s->uses[k].kind == PIECE_OUTPUT && s->uses[k].index == model &&
			    s->uses[k].output == output)
				return s->shards;
	}
	return 0;
}

char *build_common(const struct build *b, const struct adafs_plan_step *t)
{
	return adafs_fmt("work/%s/%02u-%s/%u/", b->req->job_id, t->number, build_model(b, t)->name,
			 t->run);
}

char *build_end(const struct build *b, const struct adafs_plan_step *t)
{
	ADAFS_FREE char *common = build_common(b, t);
	if (!common)
		return NULL;
	return t->shard < 0 ? adafs_fmt("%send.json", common)
			    : adafs_fmt("%send/%d.json", common, t->shard);
}

char *build_out(const struct build *b, const struct adafs_plan_step *t,
		const struct model_output *o)
{
	ADAFS_FREE char *common = build_common(b, t);
	if (!common)
		return NULL;
	return t->shard < 0 ? adafs_fmt("%sout/%s", common, o->name)
			    : adafs_fmt("%sout/%s/%d", common, o->name, t->shard);
}
