/*
 * each.c - `each` repeats a group of steps once a member: step "cover" of member "pre" becomes
 * "cover-pre". The members' variables are replaced in the references (references.c).
 */
#include <string.h>

#include "batch/base/json.h"
#include "batch/pipeline/model.h"

static int check_member(struct parser *ps, const cJSON *member)
{
	int rc = value_name(ps, member, member->string, "a member");
	if (rc == 0)
		rc = value_object(ps, member, "a member of \"each\"");
	if (rc == 0)
		rc = value_keys(ps, member, "a member", NULL);
	const char *text = NULL;
	for (const cJSON *v = member->child; rc == 0 && v; v = v->next) {
		rc = value_name(ps, v, v->string, "a variable");
		if (rc == 0)
			rc = value_text(ps, v, "a variable", &text);
	}
	return rc;
}

/* A step of the group means the same in every member, so all have the same variables. */
static int check_same_variables(struct parser *ps, const cJSON *each)
{
	for (const cJSON *m = each->child->next; m; m = m->next) {
		for (const cJSON *v = each->child->child; v; v = v->next)
			if (!adafs_json_get(m, v->string))
				return parse_fail(
					ps, m,
					"member '%s' has no '%s', which '%s' has; give both "
					"the same variables",
					m->string, v->string, each->child->string);
		for (const cJSON *v = m->child; v; v = v->next)
			if (!adafs_json_get(each->child, v->string))
				return parse_fail_key(
					ps, v,
					"member '%s' has '%s', which '%s' lacks; give "
					"both the same variables",
					m->string, v->string, each->child->string);
	}
	return 0;
}

int parse_each(struct parser *ps, const cJSON *group)
{
	const cJSON *each = adafs_json_get(group, "each"), *steps = adafs_json_get(group, "steps");
	int rc = value_keys(ps, group, "a group with \"each\"", "each, steps, description");
	if (rc == 0)
		rc = value_object(ps, each, "each");
	if (rc == 0)
		rc = value_keys(ps, each, "each", NULL);
	if (rc < 0)
		return rc;
	if (!each->child)
		return parse_fail(ps, each, "each has no members; name them, such as \"pre\": {}");
	if (!cJSON_IsArray(steps) || !steps->child)
		return parse_fail(ps, steps ? steps : group,
				  "a group with \"each\" has no steps; add \"steps\": [ ... ]");
	size_t number = ++ps->p->n_groups;
	for (const cJSON *m = each->child; rc == 0 && m; m = m->next)
		rc = check_member(ps, m);
	if (rc == 0)
		rc = check_same_variables(ps, each);
	for (const cJSON *m = each->child; rc == 0 && m; m = m->next) {
		for (const cJSON *v = steps->child; rc == 0 && v; v = v->next) {
			rc = value_object(ps, v, "a step");
			if (rc == 0 && adafs_json_get(v, "each"))
				rc = parse_fail(
					ps, v,
					"\"each\" stands inside \"each\"; write the groups one "
					"after the other");
			if (rc == 0)
				rc = parse_step(ps, v, m, number);
		}
	}
	return rc;
}
