/* /pools/{}/enableautoscale, disableautoscale and evaluateautoscale. */
#include <errno.h>
#include <string.h>

#include "batch/emulator/batch/api/api.h"
#include "batch/emulator/batch/autoscale/autoscale.h"
#include "batch/emulator/batch/autoscale/autoscale_formula.h"

static int check_formula(struct api *a, const char *formula)
{
	struct autoscale_error error;
	if (strlen(formula) > AUTOSCALE_MAX_TEXT)
		return api_error(a, 400, "AutoScalingFormulaTooLong", NULL);
	int rc = autoscale_check(formula, &error);
	if (rc == -EINVAL)
		return api_error(a, 400, autoscale_failure_code(error.kind), "Message",
				 error.detail, NULL);
	return rc < 0 ? api_error_internal(a) : 0;
}

int autoscale_check_body(struct api *a, const cJSON *spec)
{
	bool on = adafs_json_bool(spec, "enableAutoScale", false);
	bool sized = adafs_json_get(spec, "targetDedicatedNodes") ||
		     adafs_json_get(spec, "targetLowPriorityNodes");
	bool settings = adafs_json_get(spec, "autoScaleFormula") ||
			adafs_json_get(spec, "autoScaleEvaluationInterval");
	if (on && sized)
		return api_error(a, 400, "InvalidAutoScalingSettings", "Reason",
				 "A target number of nodes must not be given when enableAutoScale "
				 "is true",
				 NULL);
	if (!on && settings)
		return api_error(a, 400, "InvalidAutoScalingSettings", "Reason",
				 "A formula and an interval need enableAutoScale to be true", NULL);
	if (on && !adafs_json_get(spec, "autoScaleFormula"))
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName",
				 "autoScaleFormula", NULL);
	return on ? check_formula(a, adafs_json_str(spec, "autoScaleFormula", "")) : 0;
}

static bool is_enabled(const struct pool *p)
{
	return adafs_json_bool(p->e.spec, "enableAutoScale", false);
}

static void set_text(cJSON *spec, const char *name, const char *value)
{
	cJSON_DeleteItemFromObjectCaseSensitive(spec, name);
	cJSON_AddStringToObject(spec, name, value);
}

static void set_enabled(struct pool *p, bool on)
{
	cJSON_DeleteItemFromObjectCaseSensitive(p->e.spec, "enableAutoScale");
	cJSON_AddBoolToObject(p->e.spec, "enableAutoScale", on);
}

/* NULL: answered. */
static struct pool *live_pool(struct api *a)
{
	struct pool *p = api_pool(a);
	if (p && p->e.state == POOL_DELETING) {
		api_error(a, 409, "PoolBeingDeleted", NULL);
		return NULL;
	}
	return p;
}

static int enable(struct api *a)
{
	struct pool *p = live_pool(a);
	ADAFS_JSON *body = NULL;
	if (!p || api_conditions(a, &p->e, true) < 0 ||
	    api_body(a, batch_spec_pool_autoscale, &body) < 0)
		return -EINVAL;
	const char *formula = adafs_json_str(body, "autoScaleFormula", NULL);
	const char *interval = adafs_json_str(body, "autoScaleEvaluationInterval", NULL);
	/* A formula from before autoscale was switched off does not count. */
	if (!formula && !is_enabled(p))
		return api_error(a, 400, "MissingRequiredProperty", "PropertyName",
				 "autoScaleFormula", NULL);
	if (formula && check_formula(a, formula) < 0)
		return -EINVAL;
	/* A pool that a formula is resizing may get another one. */
	if (!is_enabled(p) && p->resizing)
		return api_error(a, 409, "PoolBeingResized", NULL);
	if (!autoscale_admit_locked(a->s, p))
		return api_error(a, 503, "TooManyEnableAutoScaleRequests", NULL);
	if (!is_enabled(p) && !interval)
		interval = "PT15M";
	if (formula)
		set_text(p->e.spec, "autoScaleFormula", formula);
	if (interval)
		set_text(p->e.spec, "autoScaleEvaluationInterval", interval);
	set_enabled(p, true);
	service_touch_locked(a->s, &p->e);
	if (autoscale_start_locked(a->s, p) < 0)
		return api_error_internal(a);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 200, &p->e);
}

static int disable(struct api *a)
{
	struct pool *p = live_pool(a);
	if (!p)
		return -EINVAL;
	if (!is_enabled(p))
		return api_error(a, 409, "OperationInvalidForCurrentState", NULL);
	set_enabled(p, false);
	cJSON_DeleteItemFromObjectCaseSensitive(p->e.spec, "autoScaleFormula");
	cJSON_DeleteItemFromObjectCaseSensitive(p->e.spec, "autoScaleEvaluationInterval");
	service_touch_locked(a->s, &p->e);
	service_dirty_locked(a->s, &p->e, true);
	int rc = api_commit(a);
	return rc < 0 ? rc : api_done(a, 200, &p->e);
}

static int evaluate(struct api *a)
{
	struct pool *p = live_pool(a);
	ADAFS_JSON *body = NULL;
	if (!p || api_body(a, batch_spec_pool_evaluate, &body) < 0)
		return -EINVAL;
	if (!is_enabled(p))
		return api_error(a, 409, "OperationInvalidForCurrentState", NULL);
	const char *formula = adafs_json_str(body, "autoScaleFormula", "");
	if (strlen(formula) > AUTOSCALE_MAX_TEXT)
		return api_error(a, 400, "AutoScalingFormulaTooLong", NULL);
	return api_json(a, "Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun",
			autoscale_try_locked(a->s, p, formula));
}

const struct api_route api_autoscale_routes[] = {
	{ "POST", "/pools/{}/enableautoscale", "EnableAutoScale", enable },
	{ "POST", "/pools/{}/disableautoscale", "DisableAutoScale", disable },
	{ "POST", "/pools/{}/evaluateautoscale", "EvaluateAutoScale", evaluate },
	{ 0 },
};
