/*
 * demands.c - what a role of `inputs` demands of its images: `bands`, `max_pixel_size`, `crs`, and
 * `overlap` with its partners, which pairing measures. Read from the file, and held against an
 * image.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "batch/base/json.h"
#include "batch/pipeline/model.h"

#define MAX_BANDS 4096

/* One value, or a list of such. Returns how many; *ret_first is the first. */
static size_t one_or_list(const cJSON *v, const cJSON **ret_first)
{
	*ret_first = cJSON_IsArray(v) ? v->child : v;
	return cJSON_IsArray(v) ? (size_t)cJSON_GetArraySize(v) : 1;
}

static int parse_bands(struct parser *ps, const cJSON *v, struct adafs_pipeline_input *in)
{
	const cJSON *item;
	size_t n = one_or_list(v, &item);
	int *bands = parse_alloc(ps, n, sizeof(*bands));
	if (!bands)
		return -ENOMEM;
	if (!n)
		return parse_fail(ps, v, "bands is empty; write a number such as 3, or [3, 4]");
	for (size_t i = 0; i < n; i++, item = item->next) {
		int rc = value_int(ps, item, "bands", 1, MAX_BANDS, &bands[i]);
		if (rc < 0)
			return rc;
	}
	in->bands = bands;
	in->n_bands = n;
	return 0;
}

static int parse_crs(struct parser *ps, const cJSON *v, struct adafs_pipeline_input *in)
{
	const cJSON *item;
	size_t n = one_or_list(v, &item);
	const char **crs = parse_alloc(ps, n, sizeof(*crs));
	if (!crs)
		return -ENOMEM;
	if (!n)
		return parse_fail(ps, v, "crs is empty; write a name such as \"EPSG:4326\"");
	for (size_t i = 0; i < n; i++, item = item->next) {
		int rc = value_text(ps, item, "crs", &crs[i]);
		if (rc < 0)
			return rc;
		size_t digits =
			strncasecmp(crs[i], "EPSG:", 5) ? 0 : strspn(crs[i] + 5, "0123456789");
		if (!digits || crs[i][5 + digits])
			return parse_fail(ps, item,
					  "crs '%.40s' is no EPSG code; write \"EPSG:4326\"",
					  crs[i]);
	}
	in->crs = crs;
	in->n_crs = n;
	return 0;
}

static int parse_number(struct parser *ps, const cJSON *v, const char *what, double max,
			const char *fix, double *ret)
{
	if (!cJSON_IsNumber(v) || !(v->valuedouble > 0) || v->valuedouble > max)
		return parse_fail(ps, v, "%s is no number above 0 and up to %g; %s", what, max,
				  fix);
	*ret = v->valuedouble;
	return 0;
}

int parse_demands(struct parser *ps, const cJSON *input, struct adafs_pipeline_input *in)
{
	const cJSON *bands = adafs_json_get(input, "bands"), *crs = adafs_json_get(input, "crs"),
		    *size = adafs_json_get(input, "max_pixel_size"),
		    *overlap = adafs_json_get(input, "overlap");
	int rc = bands ? parse_bands(ps, bands, in) : 0;
	if (rc == 0 && crs)
		rc = parse_crs(ps, crs, in);
	if (rc == 0 && size)
		rc = parse_number(ps, size, "max_pixel_size", 1e6, "write metres, such as 0.6",
				  &in->max_pixel_size);
	if (rc == 0 && overlap)
		rc = parse_number(ps, overlap, "overlap", 1, "write a share, such as 0.5",
				  &in->overlap);
	return rc;
}

/* --- an image ------------------------------------------------------------------------------- */

static int check_bands(const struct adafs_pipeline *p, const struct adafs_pipeline_input *in,
		       const struct adafs_image_info *info, struct adafs_err *reterr)
{
	char list[128] = "";
	size_t used = 0;
	for (size_t i = 0; i < in->n_bands; i++) {
		if (in->bands[i] == info->bands)
			return 0;
		int n = snprintf(list + used, sizeof(list) - used, "%s%d", i ? " or " : "",
				 in->bands[i]);
		used += n > 0 && used + (size_t)n < sizeof(list) ? (size_t)n : 0;
	}
	return in->n_bands == 0
		       ? 0
		       : adafs_err_set(
				 reterr, -EBADMSG,
				 "the image has %u band%s, and pipeline '%s' takes %s for '%s'; "
				 "choose bands, for example with gdal_translate -b",
				 info->bands, info->bands == 1 ? "" : "s", p->name, list, in->name);
}

static int check_crs(const struct adafs_pipeline *p, const struct adafs_pipeline_input *in,
		     const struct adafs_image_info *info, struct adafs_err *reterr)
{
	char list[200] = "";
	size_t used = 0;
	for (size_t i = 0; i < in->n_crs; i++) {
		if (strcasecmp(in->crs[i], info->geo.crs) == 0)
			return 0;
		int n = snprintf(list + used, sizeof(list) - used, "%s%s", i ? " or " : "",
				 in->crs[i]);
		used += n > 0 && used + (size_t)n < sizeof(list) ? (size_t)n : 0;
	}
	if (in->n_crs == 0)
		return 0;
	return adafs_err_set(
		reterr, -EBADMSG,
		"the image's coordinate system is %s, and pipeline '%s' takes %s for '%s'; "
		"reproject it, for example with gdalwarp -t_srs %s",
		*info->geo.crs ? info->geo.crs : "not known", p->name, list, in->name, in->crs[0]);
}

static int check_pixel_size(const struct adafs_pipeline *p, const struct adafs_pipeline_input *in,
			    const struct adafs_image_info *info, struct adafs_err *reterr)
{
	double size = info->geo.pixel_size_m;
	/* A hair over is what a reprojection leaves. */
	if (!in->max_pixel_size || (size > 0 && size <= in->max_pixel_size * 1.001))
		return 0;
	if (!size)
		return adafs_err_set(reterr, -EBADMSG,
				     "the image's pixel size cannot be told, since it has no "
				     "georeference, and pipeline '%s' takes at most %g m for '%s'; "
				     "georeference it",
				     p->name, in->max_pixel_size, in->name);
	return adafs_err_set(
		reterr, -EBADMSG,
		"the image's pixel size is %.2f m, and pipeline '%s' takes at most %g m for "
		"'%s'; use a sharper image",
		size, p->name, in->max_pixel_size, in->name);
}

/* A whole world in cells of a street would be a job for each. */
static int check_cells(const struct adafs_pipeline *p, const struct adafs_image_info *info,
		       struct adafs_err *reterr)
{
	size_t n = 0;
	if (p->grid_zoom < 0 ||
	    adafs_footprint_cells(&info->geo, (unsigned)p->grid_zoom, NULL, 0, &n) != -E2BIG ||
	    n <= ADAFS_MAX_CELLS)
		return 0;
	return adafs_err_set(
		reterr, -EBADMSG,
		"the image touches %zu cells of grid_zoom %d, and pipeline '%s' takes at "
		"most %d of one image; cut it, or choose a smaller grid_zoom",
		n, p->grid_zoom, p->name, ADAFS_MAX_CELLS);
}

/* Overlap is measured where the footprints are known, and a grid by them alone. */
static int check_footprint(const struct adafs_pipeline *p, const struct adafs_pipeline_input *in,
			   const struct adafs_image_info *info, struct adafs_err *reterr)
{
	if ((in->overlap == 0 && p->grid_zoom < 0) || info->geo.has_footprint)
		return 0;
	return adafs_err_set(
		reterr, -EBADMSG,
		"it cannot be told where the image lies (coordinate system: %s), and "
		"pipeline '%s' %s for '%s'; make it a GeoTIFF with an EPSG code, for example "
		"with gdal_translate -a_srs",
		*info->geo.crs ? info->geo.crs : "none", p->name,
		in->overlap > 0 ? "demands an overlap" : "goes by a grid", in->name);
}

int adafs_pipeline_demands(const struct adafs_pipeline *p, size_t role,
			   const struct adafs_image_info *info, struct adafs_err *reterr)
{
	const struct adafs_pipeline_input *in = &p->inputs[role];
	int rc = check_bands(p, in, info, reterr);
	if (rc == 0)
		rc = check_crs(p, in, info, reterr);
	if (rc == 0)
		rc = check_pixel_size(p, in, info, reterr);
	if (rc == 0)
		rc = check_footprint(p, in, info, reterr);
	return rc ? rc : check_cells(p, info, reterr);
}
