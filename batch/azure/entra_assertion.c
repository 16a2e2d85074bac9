/*
 * azure/entra_assertion.c - the signed text by which the owner of a certificate's key asks for a
 * token. Pure but for the random salt of the signature.
 */
#include "batch/azure/entra.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "batch/base/buf.h"
#include "batch/base/codec.h"
#include "batch/base/json.h"

#define ASSERTION_SECONDS 600

static void key_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void x509_freep(X509 **x)
{
	X509_free(*x);
}

static void bio_freep(BIO **b)
{
	BIO_free(*b);
}

static void md_ctx_freep(EVP_MD_CTX **c)
{
	EVP_MD_CTX_free(*c);
}

/* base64url without padding; free() it. */
static char *base64url(const void *data, size_t len)
{
	char *text = adafs_base64_encode(data, len);
	for (char *p = text; p && *p; p++) {
		if (*p == '+')
			*p = '-';
		else if (*p == '/')
			*p = '_';
		else if (*p == '=')
			*p = 0;
	}
	return text;
}

static char *json_base64url(const cJSON *object)
{
	ADAFS_FREE char *text = adafs_json_print(object);
	return text ? base64url(text, strlen(text)) : NULL;
}

/* Without this OpenSSL would ask on the terminal. */
static int give_password(char *buf, int size, int writing, void *arg)
{
	const char *password = arg;
	int len = password ? (int)strlen(password) : 0;
	(void)writing;
	if (len > size)
		return -1;
	memcpy(buf, password ? password : "", (size_t)len);
	return len;
}

static EVP_PKEY *read_key(const char *pem, size_t len, const char *password)
{
	ADAFS_CLEANUP(bio_freep) BIO *in = BIO_new_mem_buf(pem, (int)len);
	return in ? PEM_read_bio_PrivateKey(in, NULL, give_password, (void *)password) : NULL;
}

/* The certificate that belongs to the key, among those of a chain. */
static X509 *read_certificate(const char *pem, size_t len, EVP_PKEY *key)
{
	ADAFS_CLEANUP(bio_freep) BIO *in = BIO_new_mem_buf(pem, (int)len);
	X509 *x;
	while (in && (x = PEM_read_bio_X509(in, NULL, give_password, NULL))) {
		if (X509_check_private_key(x, key) == 1)
			return x;
		X509_free(x);
	}
	return NULL;
}

static char *make_header(X509 *certificate)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1)
		return NULL;
	ADAFS_FREE char *thumbprint = base64url(digest, len);
	ADAFS_JSON *header = cJSON_CreateObject();
	cJSON_AddStringToObject(header, "alg", "PS256");
	cJSON_AddStringToObject(header, "typ", "JWT");
	if (!thumbprint || !cJSON_AddStringToObject(header, "x5t#S256", thumbprint))
		return NULL;
	return json_base64url(header);
}

static char *make_claims(const char *client, const char *audience, const char *jti, time_t now)
{
	ADAFS_JSON *claims = cJSON_CreateObject();
	cJSON_AddStringToObject(claims, "aud", audience);
	cJSON_AddStringToObject(claims, "iss", client);
	cJSON_AddStringToObject(claims, "sub", client);
	cJSON_AddStringToObject(claims, "jti", jti);
	cJSON_AddNumberToObject(claims, "iat", (double)now);
	cJSON_AddNumberToObject(claims, "nbf", (double)now);
	if (!cJSON_AddNumberToObject(claims, "exp", (double)(now + ASSERTION_SECONDS)))
		return NULL;
	return json_base64url(claims);
}

/* PS256: RSA-PSS with SHA-256, its salt as long as the digest. */
static char *sign(EVP_PKEY *key, const char *text)
{
	ADAFS_CLEANUP(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	size_t len = 0;
	if (!ctx || EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL, key) != 1 ||
	    EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1 ||
	    EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) != 1 ||
	    EVP_DigestSign(ctx, NULL, &len, (const uint8_t *)text, strlen(text)) != 1)
		return NULL;
	ADAFS_FREE uint8_t *signature = malloc(len);
	if (!signature ||
	    EVP_DigestSign(ctx, signature, &len, (const uint8_t *)text, strlen(text)) != 1)
		return NULL;
	return base64url(signature, len);
}

char *adafs_entra_assertion(const char *pem, size_t len, const char *password, const char *client,
			    const char *audience, const char *jti, time_t now,
			    struct adafs_err *reterr)
{
	ADAFS_CLEANUP(key_freep) EVP_PKEY *key = read_key(pem, len, password);
	ADAFS_CLEANUP(x509_freep) X509 *x = key ? read_certificate(pem, len, key) : NULL;
	ERR_clear_error();
	if (!key) {
		adafs_err_set(reterr, -EACCES,
			      "it holds no private key in PEM form, or the password is wrong");
		return NULL;
	}
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
		adafs_err_set(reterr, -EACCES, "its key is not of RSA, which Entra ID wants");
		return NULL;
	}
	if (!x) {
		adafs_err_set(reterr, -EACCES, "it holds no certificate of its private key");
		return NULL;
	}
	ADAFS_FREE char *header = make_header(x);
	ADAFS_FREE char *claims = make_claims(client, audience, jti, now);
	ADAFS_FREE char *text = header && claims ? adafs_fmt("%s.%s", header, claims) : NULL;
	ADAFS_FREE char *signature = text ? sign(key, text) : NULL;
	char *whole = signature ? adafs_fmt("%s.%s", text, signature) : NULL;
	if (!whole)
		adafs_err_set(reterr, -ENOMEM, "the assertion cannot be signed");
	return whole;
}
