#!/bin/sh
# wrapper.sh - runs one step of a pipeline on a node (design, "The wrapper").
#
# Needs a POSIX shell and coreutils, nothing else, because it also runs inside the users' container
# images. Everything it is told comes in ADAFS_* variables (plan_env.c); lists are lines of fields
# between tabs. Only ADAFS_COMMAND is run as code, and it comes from the pipeline file.
#
# Whatever was staged lies in .adafs/ and stays there untouched; the rest of the working directory is
# emptied and laid out again before every attempt, so no attempt sees what an earlier one left.
#
# Exit codes: 0 completed, 64 empty, 66 an output is missing, 77 the SAS ends too soon, 97 skipped,
# 124 the time limit; any other is the command's own.
set -u

tab=$(printf '\t')
nl='
'
files=0
bytes=0
value=
pid=
limit=${ADAFS_TIME_LIMIT:-0}

# What end.json will say.
started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
result=failed
cause=
message=
exit_code=null
attempts=0

say() {
	printf 'adafs: %s\n' "$*" >&2
}

# --- looking at files -------------------------------------------------------------------------

# Add the regular files of a listing by ls -ln to files and bytes.
add_listing() {
	while read -r mode _ _ _ size _; do
		case $mode in
		-*)
			files=$((files + 1))
			bytes=$((bytes + size))
			;;
		esac
	done <.adafs/listing
}

# measure PATH: how many files it is or holds, and their bytes.
measure() {
	files=0
	bytes=0
	if [ -d "$1" ]; then
		LC_ALL=C ls -lnqRA -- "$1" >.adafs/listing 2>/dev/null
	elif [ -f "$1" ]; then
		LC_ALL=C ls -lnqdL -- "$1" >.adafs/listing 2>/dev/null
	else
		return 1
	fi
	add_listing
}

# walk FOLDER PATTERN: add the files below FOLDER ("" or with a trailing slash) that match, by the
# service's rules: ** stands for any folders, a leading dot must be written.
walk() {
	case $2 in
	'**/'*)
		walk "$1" "${2#\*\*/}"
		for sub in "$1"*/; do
			if [ -d "$sub" ] && [ ! -L "${sub%/}" ]; then
				walk "$sub" "$2"
			fi
		done
		;;
	*/*)
		segment=${2%%/*}
		# shellcheck disable=SC2231 # the segment is a pattern
		for sub in "$1"$segment; do
			if [ -d "$sub" ]; then
				walk "$sub/" "${2#*/}"
			fi
		done
		;;
	*)
		folder=$1
		segment=$2
		set --
		# shellcheck disable=SC2231 # the segment is a pattern
		for f in "$folder"$segment; do
			[ -f "$f" ] || continue
			set -- "$@" "$f"
			if [ $# -ge 400 ]; then
				LC_ALL=C ls -lnqdL -- "$@" >.adafs/listing
				add_listing
				set --
			fi
		done
		if [ $# -gt 0 ]; then
			LC_ALL=C ls -lnqdL -- "$@" >.adafs/listing
			add_listing
		fi
		;;
	esac
}

# field FILE NAME: the value of a line `"NAME": value` as this script writes them, in $value.
field() {
	value=
	[ -f "$1" ] || return 1
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		"\"$2\": "*)
			value=${line#*: }
			value=${value%,}
			value=${value#\"}
			value=${value%\"}
			return 0
			;;
		esac
	done <"$1"
	return 1
}

is_number() {
	case $1 in
	'' | *[!0-9]* | ????????????????*) return 1 ;;
	esac
}

# write_lines TEXT: with a line break at the end, whether or not the service kept it.
write_lines() {
	[ -z "$1" ] || printf '%s\n' "${1%"$nl"}"
}

# --- writing ----------------------------------------------------------------------------------

# json_list FILE: the lines of a file as a JSON array, one element a line.
json_list() {
	printf '['
	separator=
	if [ -f "$1" ]; then
		while IFS= read -r line; do
			printf '%s\n%s' "$separator" "$line"
			separator=,
		done <"$1"
	fi
	printf '\n]'
}

write_end() {
	{
		printf '{\n"step": "%s",\n"job": "%s",\n"run": %s,\n' \
			"${ADAFS_STEP:-}" "${ADAFS_JOB:-}" "${ADAFS_RUN:-1}"
		printf '"result": "%s",\n"exit_code": %s,\n"cause": "%s",\n"message": "%s",\n' \
			"$result" "$exit_code" "$cause" "$message"
		printf '"attempts": %s,\n"started": "%s",\n"finished": "%s",\n' \
			"$attempts" "$started" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
		printf '"inputs": '
		json_list .adafs/inputs.json
		printf ',\n"outputs": '
		json_list .adafs/outputs.json
		printf '\n}\n'
	} >.adafs/end.json.new
	mv -f .adafs/end.json.new .adafs/end.json
}

# write_part RESULT CAUSE: what the merge learns of this job.
write_part() {
	mkdir -p .adafs/part
	{
		printf '{\n"job": "%s",\n"run": %s,\n"key": "%s",\n"order": "%s",\n' \
			"${ADAFS_JOB:-}" "${ADAFS_RUN:-1}" "${ADAFS_PART_KEY:-}" "${ADAFS_PART_ORDER:-}"
		printf '"result": "%s",\n"cause": "%s",\n"files": ' "$1" "$2"
		json_list .adafs/files.json
		printf ',\n"images": %s\n}\n' "${ADAFS_PART_IMAGES:-[]}"
	} >.adafs/part/new
	mv -f .adafs/part/new .adafs/part/part.json
}

# finish STATUS: the only way out once the settings are read.
finish() {
	if [ "$result" != completed ]; then
		rm -f .adafs/files.json
		say "${ADAFS_STEP:-step} $result: $message"
	fi
	[ -z "${ADAFS_RESULT:-}" ] || write_part "$result" "$cause"
	write_end
	exit "$1"
}

# --- laying out the working directory -----------------------------------------------------------

clear_folder() {
	for f in ./* ./.[!.]* ./..?*; do
		[ "$f" != ./.adafs ] || continue
		if [ -e "$f" ] || [ -L "$f" ]; then
			rm -rf -- "$f"
		fi
	done
}

# Hard links cost no copy of gigabytes; where there are none, copies.
place_file() {
	mkdir -p -- "$(dirname -- "$2")"
	ln -f -- "$1" "$2" 2>/dev/null || cp -f -- "$1" "$2"
}

place_folder() {
	mkdir -p -- "$2"
	if [ -z "${link+x}" ]; then
		link=
		rm -f .adafs/try
		if cp -l .adafs/wrapper.sh .adafs/try 2>/dev/null; then
			link=-l
		fi
	fi
	cp -R -f ${link:+"$link"} -- "$1/." "$2/"
}

# producer_cause PREFIX: why a step left no output: sets why and told.
producer_cause() {
	why=failed
	told="step ${1%/*/} left no end.json"
	if field ".adafs/stage/${1}end.json" step; then
		step=$value
		field ".adafs/stage/${1}end.json" result
		told="step $step ended $value"
		case $value in
		empty) why=empty ;;
		skipped)
			field ".adafs/stage/${1}end.json" cause
			told="$told ($value)"
			[ "$value" != empty ] || why=empty
			;;
		completed) told="step $step completed but its files did not arrive" ;;
		esac
		return 0
	fi
	told="step ${told#step work/*/}"
}

producer_completed() {
	field ".adafs/stage/${1}end.json" result && [ "$value" = completed ]
}

# folder_whole SOURCE PREFIX: whether a folder holds as many files as its producer stored: an upload
# that failed half way leaves the rest behind. $files is the folder's count.
folder_whole() {
	while IFS= read -r line; do
		case $line in
		"{\"name\": \"${1##*/}\", "*)
			line=${line#*'"files": '}
			line=${line%%,*}
			! is_number "$line" || [ "$files" -ge "$line" ]
			return
			;;
		esac
	done <".adafs/stage/${2}end.json"
}

# A missing input ends the step as skipped. Of several reasons a failure outranks empty.
check_inputs() {
	cause=
	: >.adafs/inputs.json
	while IFS=$tab read -r need kind source target producer; do
		here=
		case $kind in
		file) [ ! -f "$source" ] || here=1 ;;
		dir) [ ! -d "$source" ] || here=1 ;;
		esac
		if [ -n "$here" ]; then
			measure "$source"
			if [ "$kind" = dir ] && [ -f ".adafs/stage/${producer}end.json" ]; then
				folder_whole "$source" "$producer" || here=
			fi
		fi
		if [ -n "$here" ]; then
			printf '{"path": "%s", "files": %s, "bytes": %s}\n' "$target" "$files" "$bytes" \
				>>.adafs/inputs.json
			continue
		fi
		if [ "$need" = may ]; then
			[ "$producer" != - ] || continue
			! producer_completed "$producer" || continue
		fi
		why=failed
		told='it was not staged'
		[ "$producer" = - ] || producer_cause "$producer"
		if [ -z "$cause" ] || { [ "$cause" = empty ] && [ "$why" = failed ]; }; then
			cause=$why
			message="input $target is missing: $told"
		fi
	done <.adafs/inputs
	[ -z "$cause" ]
}

lay_out() {
	clear_folder
	while IFS=$tab read -r need kind source target _; do
		case $kind in
		file) [ ! -f "$source" ] || place_file "$source" "$target" || return 1 ;;
		dir) [ ! -d "$source" ] || place_folder "$source" "${target%/}" || return 1 ;;
		esac
	done <.adafs/inputs
}

# --- running ------------------------------------------------------------------------------------

# The command runs in a process group of its own (made by timeout). A guard in that group holds the
# reading end of a pipe whose other end only this shell has: when this shell ends, killed or not, the
# guard kills what is left of the group. It compares groups first, should timeout have made none.
# shellcheck disable=SC2016 # run by the inner shell
guard='
group() {
	read -r stat </proc/self/stat || return 1
	stat=${stat##*) }
	stat=${stat#* * }
	stat=${stat%% *}
}
(
	(
		trap "" TERM INT HUP
		exec >/dev/null 2>&1
		read -r _ <&9
		group && [ "$stat" != "$ADAFS_GROUP" ] && kill -s KILL 0
	) &
)
unset ADAFS_GROUP
exec 9<&-
exec "$@"
'

own_group() {
	read -r stat <"/proc/$$/stat" || return 0
	stat=${stat##*) }
	stat=${stat#* * }
	ADAFS_GROUP=${stat%% *}
	export ADAFS_GROUP
}

# run_command: one attempt. Its exit code is the function's.
run_command() {
	rm -f .adafs/alive
	mkfifo .adafs/alive || return 1
	# Both ends are open before anything starts: whoever comes late still sees the end.
	exec 8<>.adafs/alive
	exec 9<.adafs/alive
	IFS=$nl
	set -f
	# shellcheck disable=SC2086 # one word a line
	set -- ${ADAFS_SHELL:-/bin/sh$nl-c}
	set +f
	unset IFS
	timeout -k "${ADAFS_GRACE:-10}" "$limit" /bin/sh -c "$guard" sh "$@" "$ADAFS_COMMAND" 8>&- &
	pid=$!
	exec 9<&-
	wait "$pid"
	status=$?
	pid=
	exec 8>&-
	return "$status"
}

# The service ends a task by a signal: pass it on, wait for the end, and say so.
# shellcheck disable=SC2317 # called by trap
on_signal() {
	trap '' TERM INT HUP
	if [ -n "$pid" ]; then
		kill -s TERM "$pid" 2>/dev/null
		wait "$pid"
	fi
	result=failed
	cause=terminated
	message='the task was ended from outside'
	finish 143
}

is_stop_code() {
	for code in ${ADAFS_STOP_ON:-}; do
		[ "$code" != "$1" ] || return 0
	done
	return 1
}

# Count the declared outputs; what is missing is named in $message.
check_outputs() {
	: >.adafs/outputs.json
	: >.adafs/files.json
	missing=
	while IFS=$tab read -r name need kind pattern; do
		files=0
		bytes=0
		walk '' "$pattern"
		if [ "$files" -eq 0 ]; then
			[ "$need" = may ] || missing="$missing $pattern"
			continue
		fi
		printf '{"name": "%s", "path": "%s", "files": %s, "bytes": %s}\n' \
			"$name" "$pattern" "$files" "$bytes" >>.adafs/outputs.json
		[ "$kind" = dir ] || name=${pattern##*/}
		printf '{"path": "%s", "files": %s, "bytes": %s}\n' "$name" "$files" "$bytes" \
			>>.adafs/files.json
	done <.adafs/outputs
	[ -z "$missing" ]
}

# Run the command until it succeeds or has no attempt left. 0: completed; else the exit code to end with.
run_attempts() {
	while :; do
		attempts=$((attempts + 1))
		result=failed
		cause='layout'
		message='the inputs could not be laid out; see stderr.txt'
		lay_out || return 1
		began=$(date +%s)
		run_command
		exit_code=$?
		if is_stop_code "$exit_code"; then
			result=empty
			cause=empty
			message="nothing was found (exit code $exit_code)"
			return 64
		fi
		if [ "$exit_code" -eq 0 ]; then
			cause='output missing'
			if ! check_outputs; then
				message="the command ended well but did not write$missing"
				return 66
			fi
			result=completed
			cause=
			message=
			return 0
		fi
		case $exit_code in
		124 | 137)
			if [ "$limit" -gt 0 ] && [ $(($(date +%s) - began)) -ge "$limit" ]; then
				cause='time limit'
				message="the command took longer than its time limit of $limit s"
				return 124
			fi
			;;
		esac
		cause='exit code'
		message="the command ended with exit code $exit_code"
		if [ "$attempts" -gt "${ADAFS_RETRIES:-0}" ]; then
			# Codes with a meaning of their own only come from this script.
			case $exit_code in
			64 | 66 | 77 | 97) return 1 ;;
			esac
			return "$exit_code"
		fi
		say "attempt $attempts of $((${ADAFS_RETRIES:-0} + 1)) ended with exit code $exit_code; once more"
	done
}

# --- merging ------------------------------------------------------------------------------------

# If the result step of this job never ran, nobody has said so yet.
note_own_part() {
	noted=0
	own="$ADAFS_PARTS/$ADAFS_JOB/part.json"
	field "$own" run
	if is_number "$value" && [ "$value" -ge "${ADAFS_RUN:-1}" ]; then
		return 0
	fi
	noted=1
	rm -f .adafs/files.json
	write_part failed 'not run'
	mkdir -p "$ADAFS_PARTS/$ADAFS_JOB"
	cp -f .adafs/part/part.json "$own"
}

# The fields of $part into variables.
read_part() {
	field "$part" key || return 1
	key=$value
	field "$part" order || return 1
	order=$value
	field "$part" run || return 1
	run=$value
	field "$part" result || return 1
	ended=$value
	field "$part" cause || return 1
	ended_by=$value
}

# One line for each part: key, order, job, result. The highest count is the map, so it must be that of
# the merge that knows most: a part counts when all of it has arrived, a further run of a job again, and
# until then as the run before. What only this merge knows, that its own part never will arrive, decides
# between equals.
list_parts() {
	count=0
	: >.adafs/records
	for folder in "$ADAFS_PARTS"/*/; do
		part="${folder}part.json"
		job=${folder%/}
		job=${job##*/}
		read_part || continue
		case $key$job in
		*[!A-Za-z0-9_-]*) continue ;;
		esac
		case $order in
		*[!0-9TZ:.-]*) continue ;;
		esac
		is_number "$run" || continue
		case $ended in
		skipped)
			ended=failed
			[ "$ended_by" != empty ] || ended=empty
			;;
		completed | empty | failed) ;;
		*) continue ;;
		esac
		if [ "$ended" = completed ] && ! part_whole "$folder"; then
			# Another job's files may still be on their way; its own merge will have them.
			ended=unassessed
			if [ "$job" = "$ADAFS_JOB" ]; then
				ended=failed
				noted=1
			fi
			count=$((count - 1))
		elif [ "$job" = "$ADAFS_JOB" ]; then
			count=$((count - noted))
		fi
		count=$((count + run))
		printf '%s %s %s %s\n' "${key:--}" "${order:--}" "$job" "$ended" >>.adafs/records
	done
	count=$((2 * count + noted))
}

# part_whole FOLDER: whether every file that its part.json names has arrived.
part_whole() {
	while IFS= read -r line; do
		case $line in
		'{"path": "'*) ;;
		*) continue ;;
		esac
		name=${line#*'"path": "'}
		name=${name%%\"*}
		want_files=${line#*'"files": '}
		want_files=${want_files%%,*}
		want_bytes=${line#*'"bytes": '}
		want_bytes=${want_bytes%%\}*}
		case $name in
		'' | */* | . | ..) return 1 ;;
		esac
		is_number "$want_files" && is_number "$want_bytes" || return 1
		measure "$1$name" || return 1
		[ "$files" -ge "$want_files" ] && [ "$bytes" -ge "$want_bytes" ] || return 1
	done <"${1}part.json"
}

# Of each image only the newest part counts; completed ones are laid out in .adafs/chosen.
choose_parts() {
	rm -rf .adafs/chosen
	mkdir -p .adafs/chosen
	: >.adafs/images.json
	expected=0 done=0 empty=0 failed=0 unassessed=0
	last=
	LC_ALL=C sort -k1,1 -k2,2r -k3,3 .adafs/records >.adafs/records.sorted
	while read -r key order job ended; do
		[ "$key" != "$last" ] || continue
		last=$key
		expected=$((expected + 1))
		folder="$ADAFS_PARTS/$job/"
		case $ended in
		completed)
			done=$((done + 1))
			place_folder "$folder" ".adafs/chosen/$job" || return 1
			rm -f ".adafs/chosen/$job/part.json"
			;;
		empty) empty=$((empty + 1)) ;;
		failed) failed=$((failed + 1)) ;;
		unassessed) unassessed=$((unassessed + 1)) ;;
		esac
		field "${folder}part.json" images
		printf '{"job": "%s", "result": "%s", "order": "%s", "images": %s}\n' \
			"$job" "$ended" "$order" "${value:-[]}" >>.adafs/images.json
	done <.adafs/records.sorted
}

# Nothing to merge: outputs get the content that the pipeline gives for that.
write_when_empty() {
	clear_folder
	number=0
	while IFS=$tab read -r name _ _ path; do
		number=$((number + 1))
		if content=$(printenv "ADAFS_EMPTY_$number" && printf x); then
			mkdir -p -- "$(dirname -- "$path")" || return 1
			# The x kept the content's own line breaks; printenv added one.
			content=${content%x}
			printf '%s' "${content%"$nl"}" >"$path" || return 1
			measure "$path"
			printf '{"path": "%s", "files": %s, "bytes": %s}\n' "${path##*/}" "$files" "$bytes" \
				>>.adafs/files.json
		fi
	done <.adafs/outputs
}

write_summary() {
	printf '{\n"event": %s,\n"pipeline": "%s",\n"count": %s,\n"job": "%s",\n"run": %s,\n' \
		"${ADAFS_EVENT_JSON:-\"\"}" "${ADAFS_PIPELINE:-}" "$count" "$ADAFS_JOB" "${ADAFS_RUN:-1}"
	printf '"written": "%s",\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
	printf '"expected": %s,\n"done": %s,\n"empty": %s,\n"failed": %s,\n' \
		"$expected" "$done" "$empty" "$failed"
	printf '"skipped": 0,\n"unassessed": %s,\n"files": ' "$unassessed"
	json_list .adafs/merged.json
	printf ',\n"images": '
	json_list .adafs/images.json
	printf '\n}\n'
}

# What is published is complete or not there: the folder is made only when all is well.
publish() {
	to=".adafs/merged/$count-${ADAFS_MERGE_ID:-0}"
	: >.adafs/merged.json
	mkdir -p "$to" || return 1
	while IFS=$tab read -r _ _ _ path; do
		[ -f "$path" ] || continue
		place_file "$path" "$to/${path##*/}" || return 1
		measure "$path"
		printf '{"path": "%s", "size": %s}\n' "${path##*/}" "$bytes" >>.adafs/merged.json
	done <.adafs/outputs
	write_summary >"$to/summary.json"
}

run_merge() {
	rm -rf .adafs/merged
	cause=merge
	message='the parts could not be read; see stderr.txt'
	note_own_part
	list_parts
	choose_parts || return 1
	: >.adafs/files.json
	if [ "$done" -gt 0 ] && [ -n "${ADAFS_COMMAND:-}" ]; then
		check_inputs || return 97
		run_attempts || return $?
	else
		write_when_empty || return 1
	fi
	publish || return 1
	result=completed
	cause=
	message=
}

# --- start --------------------------------------------------------------------------------------

# Everything beside .adafs/ in this folder is removed: be sure that it is a task's.
if [ -z "${AZ_BATCH_TASK_WORKING_DIR:-}" ] || ! cd "$AZ_BATCH_TASK_WORKING_DIR" ||
	[ ! -f .adafs/wrapper.sh ]; then
	say 'this script runs inside the working directory of a Batch task'
	exit 1
fi
rm -rf .adafs/end.json .adafs/part .adafs/outputs.json .adafs/files.json .adafs/inputs.json
write_lines "${ADAFS_INPUTS:-}" >.adafs/inputs
write_lines "${ADAFS_OUTPUTS:-}" >.adafs/outputs
own_group
trap on_signal TERM INT HUP

if [ -n "${ADAFS_EXPIRES:-}" ] && [ $(($(date +%s) + limit)) -gt "$ADAFS_EXPIRES" ]; then
	cause=sas
	message='the access to the storage account ends before the time limit of this step'
	finish 77
fi
if [ "${ADAFS_MODE:-step}" = merge ]; then
	run_merge
	finish $?
fi
if ! check_inputs; then
	result=skipped
	finish 97
fi
run_attempts
finish $?
