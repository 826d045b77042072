/* SPDX-License-Identifier: BSD-2-Clause */
/* reload: the answer is one object, which every part of a reload adds its words to. */
#include "reload.h"

#include "admin.h"
#include "log.h"

json_t *reload_begin(void)
{
	return json_pack("{s:[], s:[]}", "changed", "restart");
}

void reload_told(void *answer, const char *option, bool taken)
{
	json_array_append_new(json_object_get(answer, taken ? "changed" : "restart"), json_string(option));
}

json_t *reload_done(json_t *answer)
{
	const json_t *changed = json_object_get(answer, "changed"), *restart = json_object_get(answer, "restart"), *option;
	size_t i;

	if (json_array_size(changed) + json_array_size(restart) == 0)
		log_info("reload: nothing changed");
	json_array_foreach(changed, i, option)
		log_info("reload: %s is another now", json_string_value(option));
	json_array_foreach(restart, i, option)
		log_warn("reload: %s is another in the file, which needs a restart", json_string_value(option));
	return answer;
}

json_t *reload_refused(const char *why)
{
	log_error("reload: refused, and nothing changed: %s", why);
	return json_pack("{s:s}", "error", why);
}

static size_t print(const json_t *answer, const char *key, const char *sentence, FILE *out)
{
	const json_t *list = json_object_get(answer, key), *option;
	size_t i;

	json_array_foreach(list, i, option)
		fprintf(out, "%s %s\n", json_string_value(option), sentence);
	return json_array_size(list);
}

int reload_ask(const char *path, FILE *out)
{
	json_t *answer = admin_fetch(path, "reload");

	if (!answer)
		return 1;
	if (print(answer, "changed", "is another now", out) + print(answer, "restart", "needs a restart", out) == 0)
		fputs("nothing changed\n", out);
	json_decref(answer);
	return fflush(out) ? 1 : 0;
}
