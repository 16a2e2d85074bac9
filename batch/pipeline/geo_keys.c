/*
 * geo_keys.c - GeoTIFF's tags: which coordinate system, and where its first pixel lies. Arrays
 * only; every count is checked, as the file may say anything.
 */
#include <math.h>

#include "batch/base/cleanup.h"
#include "batch/pipeline/geo.h"

#define TAG_GEO_KEY_DIRECTORY 34735

enum {
	KEY_MODEL_TYPE = 1024,
	KEY_RASTER_TYPE = 1025,
	KEY_GEOGRAPHIC_CRS = 2048,
	KEY_PROJECTED_CRS = 3072,
};
enum { MODEL_PROJECTED = 1, MODEL_GEOGRAPHIC = 2 };
enum { RASTER_PIXEL_IS_POINT = 2 };
/* Codes below are obsolete or undefined, 32767 is "defined by the file", above it is private. */
enum { EPSG_FIRST = 1024, EPSG_LAST = 32766 };

/* The directory: a head of 4 numbers, the last of which counts the keys, then 4 numbers a key. */
static unsigned find_key(const struct geo_tags *t, unsigned id)
{
	unsigned n = t->n_keys < 4 || t->keys[0] != 1 ? 0 : (t->n_keys - 4u) / 4;
	if (n && n > t->keys[3])
		n = t->keys[3];
	for (unsigned i = 0; i < n; i++) {
		const uint16_t *k = t->keys + 4 + 4 * (size_t)i;
		if (k[0] != id || k[2] == 0)
			continue;
		if (k[1] == 0)
			return k[3];
		if (k[1] == TAG_GEO_KEY_DIRECTORY && k[3] < t->n_keys)
			return t->keys[k[3]];
		return 0;
	}
	return 0;
}

/*
 * A system that the file itself defines stays unknown, also where the key of its geographic base
 * has a code: the coordinates are not in that.
 */
static unsigned find_crs(const struct geo_tags *t)
{
	unsigned model = find_key(t, KEY_MODEL_TYPE);
	unsigned projected = find_key(t, KEY_PROJECTED_CRS);
	if (model == 0)
		model = projected ? MODEL_PROJECTED : MODEL_GEOGRAPHIC;
	unsigned code = model == MODEL_PROJECTED    ? projected
			: model == MODEL_GEOGRAPHIC ? find_key(t, KEY_GEOGRAPHIC_CRS)
						    : 0;
	return code >= EPSG_FIRST && code <= EPSG_LAST ? code : 0;
}

/* North is up, whatever the sign of the scale: as GDAL reads it. */
static bool from_scale(const struct geo_tags *t, double m[6])
{
	if (t->n_scale < 2 || t->n_tiepoints < 6)
		return false;
	const double *p = t->tiepoints;
	m[1] = t->scale[0];
	m[5] = -fabs(t->scale[1]);
	m[2] = m[4] = 0;
	m[0] = p[3] - p[0] * m[1];
	m[3] = p[4] - p[1] * m[5];
	return true;
}

static bool from_matrix(const struct geo_tags *t, double m[6])
{
	static const int of[6] = { 3, 0, 1, 7, 4, 5 };
	if (t->n_matrix < 16)
		return false;
	for (int i = 0; i < 6; i++)
		m[i] = t->matrix[of[i]];
	return true;
}

static bool is_sane(const double m[6])
{
	for (int i = 0; i < 6; i++)
		if (!isfinite(m[i]))
			return false;
	double area = m[1] * m[5] - m[2] * m[4];
	return isfinite(area) && area != 0;
}

void geo_keys_read(const struct geo_tags *tags, struct geo_ref *ret)
{
	struct geo_ref ref = { 0 };
	double *m = ref.transform;
	ref.epsg = find_crs(tags);
	/* Files with both say the same in both; the scale is what GDAL looks at first. */
	if ((from_scale(tags, m) && is_sane(m)) || (from_matrix(tags, m) && is_sane(m))) {
		if (find_key(tags, KEY_RASTER_TYPE) == RASTER_PIXEL_IS_POINT) {
			/* The file tells the centre of the first pixel. */
			m[0] -= (m[1] + m[2]) / 2;
			m[3] -= (m[4] + m[5]) / 2;
		}
		ref.has_transform = is_sane(m);
	}
	*ret = ref;
}
