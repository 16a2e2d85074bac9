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

# note_lineage: what made what this step leaves, a line each: what its producers tell of themselves
# and of theirs, then the step itself.
note_lineage() {
	node=${AZ_BATCH_NODE_ID:-}
	case $node in
	*[!A-Za-z0-9_.-]*) node= ;;
	esac
	{
		for end in .adafs/stage/work/"${ADAFS_JOB:-}"/*/*/end.json \
			.adafs/stage/work/"${ADAFS_JOB:-}"/*/*/end/*.json; do
			[ -f "$end" ] || continue
			while IFS= read -r line; do
				case ${line%,} in
				*[!A-Za-z0-9_.:{}\",\ -]*) ;;
				'{"task": "'*'}') printf '%s\n' "${line%,}" ;;
				esac
			done <"$end"
		done
		printf '{"task": "%s", "run": %s, "result": "%s", "exit_code": %s, ' \
			"${ADAFS_STEP:-}" "${ADAFS_RUN:-1}" "$result" "$exit_code"
		printf '"attempts": %s, "started": "%s", "finished": "%s", "node": "%s"}\n' \
			"$attempts" "$started" "$finished" "$node"
	} | LC_ALL=C sort -u >.adafs/lineage.json
}

write_end() {
	{
		printf '{\n"step": "%s",\n"job": "%s",\n"run": %s,\n' \
			"${ADAFS_STEP:-}" "${ADAFS_JOB:-}" "${ADAFS_RUN:-1}"
		printf '"result": "%s",\n"exit_code": %s,\n"cause": "%s",\n"message": "%s",\n' \
			"$result" "$exit_code" "$cause" "$message"
		printf '"attempts": %s,\n"started": "%s",\n"finished": "%s",\n' \
			"$attempts" "$started" "$finished"
		printf '"inputs": '
		json_list .adafs/inputs.json
		printf ',\n"outputs": '
		json_list .adafs/outputs.json
		printf ',\n"lineage": '
		json_list .adafs/lineage.json
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

# list_steps: the plan's steps with what the lineage tells of them. Not all of them need have a part
# in the result.
list_steps() {
	known=$nl$(cat .adafs/lineage.json)
	number=1
	separator=
	while steps=$(printenv "ADAFS_STEPS_$number"); do
		write_lines "$steps" >.adafs/steps
		while IFS=$tab read -r task run planned; do
			told=${known#*"$nl{\"task\": \"$task\", \"run\": $run, "}
			if [ "$told" = "$known" ]; then
				told='"result": null, "exit_code": null, "attempts": null, '
				told="$told\"started\": null, \"finished\": null, \"node\": null}"
			fi
			printf '%s\n%s, %s' "$separator" "${planned%\}}" "${told%%"$nl"*}"
			separator=,
		done <.adafs/steps
		number=$((number + 1))
	done
}

# write_manifest: what the result was made from and by. What holds names comes as JSON.
write_manifest() {
	{
		printf '%s,\n"run": %s,\n"result": "%s",\n"written": "%s",\n"pipeline": ' \
			"${ADAFS_MANIFEST%\}}" "${ADAFS_RUN:-1}" "$result" "$finished"
		cat .adafs/pipeline.json || printf null
		printf ',\n"steps": ['
		list_steps
		printf '\n],\n"files": '
		json_list .adafs/files.json
		printf '\n}\n'
	} >.adafs/part/new
	mv -f .adafs/part/new .adafs/part/manifest.json
}

# finish STATUS: the only way out once the settings are read.
finish() {
	if [ "$result" != completed ]; then
		rm -f .adafs/files.json
		say "${ADAFS_STEP:-step} $result: $message"
	fi
	finished=$(date -u +%Y-%m-%dT%H:%M:%SZ)
	note_lineage
	if [ -n "${ADAFS_RESULT:-}" ]; then
		write_part "$result" "$cause"
		[ -z "${ADAFS_MANIFEST:-}" ] || write_manifest
	fi
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

# producer_cause END: why a step left no output: sets why and told.
producer_cause() {
	why=failed
	told="step ${1%/*/*} left no end.json"
	if field ".adafs/stage/$1" step; then
		step=$value
		field ".adafs/stage/$1" result
		told="step $step ended $value"
		case $value in
		empty) why=empty ;;
		skipped)
			field ".adafs/stage/$1" cause
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
	field ".adafs/stage/$1" result && [ "$value" = completed ]
}

# told_files END ENTRY: how many files a producer says that it stored under a name, in $value; fails
# when it says nothing of it.
told_files() {
	[ -f ".adafs/stage/$1" ] || return 1
	while IFS= read -r line; do
		case $line in
		"{\"name\": \"$2\", "*)
			value=${line#*'"files": '}
			value=${value%%,*}
			is_number "$value"
			return
			;;
		esac
	done <".adafs/stage/$1"
	return 1
}

# nothing_to_do NEED END ENTRY: whether the absence of an input is no fault. What is optional may be
# missing where its producer completed; a share, and what one of several shards gives, only where the
# producer says itself that there is none.
nothing_to_do() {
	case $1 in
	may) [ "$2" = - ] || producer_completed "$2" ;;
	share | some) producer_completed "$2" && ! told_files "$2" "$3" ;;
	*) return 1 ;;
	esac
}

# A missing input ends the step as skipped. Of several reasons a failure outranks empty. $idle: all
# that a shard could work on has no share for it.
check_inputs() {
	cause=
	shares=0
	idle=
	: >.adafs/inputs.json
	while IFS=$tab read -r need kind source target producer entry; do
		here=
		case $kind in
		file) [ ! -f "$source" ] || here=1 ;;
		dir) [ ! -d "$source" ] || here=1 ;;
		esac
		if [ -n "$here" ]; then
			# An upload that failed half way leaves fewer files than were stored.
			measure "$source"
			if [ "$kind" = dir ] && told_files "$producer" "$entry"; then
				[ "$files" -ge "$value" ] || here=
			fi
		fi
		if [ -n "$here" ]; then
			printf '{"path": "%s", "files": %s, "bytes": %s}\n' "$target" "$files" "$bytes" \
				>>.adafs/inputs.json
			[ "$need" != share ] || shares=$((shares + 1))
			continue
		fi
		if nothing_to_do "$need" "$producer" "$entry"; then
			[ "$need" != share ] || idle=1
			continue
		fi
		why=failed
		told='it was not staged'
		[ "$producer" = - ] || producer_cause "$producer"
		if [ -z "$cause" ] || { [ "$cause" = empty ] && [ "$why" = failed ]; }; then
			cause=$why
			message="input $target is missing: $told"
		fi
	done <.adafs/inputs
	[ "$shares" -eq 0 ] || idle=
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

# count_shares NAME PATTERN N: what lies in the folders 0/, 1/, ... of an output that others read in
# shares. $shared is the files of all of them.
count_shares() {
	shared=0
	case $2 in
	[*?[]*) base= ;;
	*)
		base=${2%%[*?[]*}
		base=${base%/*}/
		;;
	esac
	rest=${2#"$base"}
	case $rest in
	'**/'*) ;;
	*) rest=${rest#*/} ;;
	esac
	share=0
	while [ "$share" -lt "$3" ]; do
		files=0
		bytes=0
		[ ! -d "$base$share" ] || walk "$base$share/" "$rest"
		[ "$files" -eq 0 ] || printf '{"name": "%s/%s", "path": "%s", "files": %s, "bytes": %s}\n' \
			"$1" "$share" "$base$share/$rest" "$files" "$bytes" >>.adafs/outputs.json
		shared=$((shared + files))
		share=$((share + 1))
	done
}

# Count the declared outputs; what is wrong with them is $message.
check_outputs() {
	: >.adafs/outputs.json
	: >.adafs/files.json
	missing=
	stray=
	while IFS=$tab read -r name need kind pattern splits; do
		files=0
		bytes=0
		walk '' "$pattern"
		if [ "$files" -eq 0 ]; then
			[ "$need" = may ] || missing="$missing $pattern"
			continue
		fi
		printf '{"name": "%s", "path": "%s", "files": %s, "bytes": %s}\n' \
			"$name" "$pattern" "$files" "$bytes" >>.adafs/outputs.json
		if [ "${splits:-0}" -gt 0 ]; then
			all=$files
			all_bytes=$bytes
			count_shares "$name" "$pattern" "$splits"
			[ "$shared" -eq "$all" ] || stray="$stray $name"
			files=$all
			bytes=$all_bytes
		fi
		[ "$kind" = dir ] || name=${pattern##*/}
		printf '{"path": "%s", "files": %s, "bytes": %s}\n' "$name" "$files" "$bytes" \
			>>.adafs/files.json
	done <.adafs/outputs
	[ -z "$stray" ] || message="the command wrote files outside the folders 0/, 1/, ... of$stray"
	[ -z "$missing" ] || message="the command ended well but did not write$missing"
	[ -z "$missing$stray" ]
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
			check_outputs || return 66
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

# The result of an earlier run is this one's too: from now on it is the newest of its images.
renew_part() {
	: >.adafs/files.json
	while IFS= read -r line; do
		case $line in
		'{"path": "'*) printf '%s\n' "${line%,}" >>.adafs/files.json ;;
		esac
	done <"$own"
	field "$own" result
	kept=$value
	field "$own" cause
	write_part "$kept" "$value"
	cp -f .adafs/part/part.json "$own"
}

# If the result step of this job never ran, nobody has said so yet.
note_own_part() {
	noted=0
	own="$ADAFS_PARTS/$ADAFS_JOB/part.json"
	field "$own" run
	if is_number "$value" && [ "$value" -ge "${ADAFS_PART_RUN:-${ADAFS_RUN:-1}}" ]; then
		[ "${ADAFS_PART_RUN:-${ADAFS_RUN:-1}}" -ge "${ADAFS_RUN:-1}" ] || renew_part
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

# One line for each part: key, order, job, result, cause. The highest count is the map, so it must be that of
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
		case $ended_by in
		*[!A-Za-z\ ]*) ended_by=unknown ;;
		esac
		# A step is skipped because an earlier one failed or was empty: nothing is left to be told as
		# skipped, and its count in the summary is always 0.
		case $ended in
		skipped)
			ended=failed
			[ "$ended_by" != empty ] || ended=empty
			;;
		completed | empty | failed | deleted) ;;
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
		printf '%s %s %s %s %s\n' "${key:--}" "${order:--}" "$job" "$ended" "$ended_by" \
			>>.adafs/records
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

# see_date IMAGE: a day, or a day with a time; they compare as texts.
see_date() {
	day=
	case $1 in
	*'"date":"'*)
		day=${1#*'"date":"'}
		day=${day%%\"*}
		;;
	esac
	case $day in
	*[!0-9TZ:.+-]*) ;;
	[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*)
		printf '%s\n' "$day" >>.adafs/dates
		return
		;;
	esac
	undated=$((undated + 1))
}

# see_images LIST: the images of a part as plan_images.c writes them, where a quote inside a text has
# a backslash before it. Their dates are noted; $names is what to call them, escaped as they are there.
see_images() {
	list=$1
	names=
	number=0
	while :; do
		case $list in
		*'{"role":"'*) list=${list#*'{"role":"'} ;;
		*) break ;;
		esac
		number=$((number + 1))
		image=${list%%'{"role":"'*}
		see_date "$image"
		if [ "$number" -le 3 ]; then
			image=${image#*'"blob":"'}
			names="$names${names:+, }${image%%'","snapshot":'*}"
		fi
	done
	[ "$number" -le 3 ] || names="$names and $((number - 3)) more"
	names=${names:-an image}
	images=$((images + number))
}

# note_not_done RESULT CAUSE: a line of the text for an image that is not in the map.
note_not_done() {
	not_done=$((not_done + 1))
	[ "$not_done" -le 200 ] || return 0
	case $1,$2 in
	empty,*) why='nothing was found' ;;
	unassessed,*) why='its files are still on their way' ;;
	*,failed) why='an earlier step failed' ;;
	*,'not run') why='its last step did not run' ;;
	*,) why='its files did not arrive' ;;
	*) why=$2 ;;
	esac
	printf '%s: %s (job %s): %s\n' "$1" "$names" "$job" "$why" >>.adafs/not_done
}

# Of each image only the newest part counts; completed ones are laid out in .adafs/chosen.
choose_parts() {
	rm -rf .adafs/chosen
	mkdir -p .adafs/chosen
	: >.adafs/images.json
	: >.adafs/dates
	: >.adafs/not_done
	expected=0 done=0 empty=0 failed=0 unassessed=0
	images=0 undated=0 not_done=0
	last=
	LC_ALL=C sort -k1,1 -k2,2r -k3,3 .adafs/records >.adafs/records.sorted
	while read -r key order job ended ended_by; do
		[ "$key" != "$last" ] || continue
		last=$key
		# It was the newest of its image, and nobody wants to see that any more.
		[ "$ended" != deleted ] || continue
		expected=$((expected + 1))
		folder="$ADAFS_PARTS/$job/"
		field "${folder}part.json" images
		shown=${value:-[]}
		see_images "$shown"
		[ "$ended" = completed ] || note_not_done "$ended" "$ended_by"
		case $ended in
		completed)
			done=$((done + 1))
			place_folder "$folder" ".adafs/chosen/$job" || return 1
			rm -f ".adafs/chosen/$job/part.json" ".adafs/chosen/$job/manifest.json"
			;;
		empty) empty=$((empty + 1)) ;;
		failed) failed=$((failed + 1)) ;;
		unassessed) unassessed=$((unassessed + 1)) ;;
		esac
		printf '{"job": "%s", "result": "%s", "order": "%s", "images": %s}\n' \
			"$job" "$ended" "$order" "$shown" >>.adafs/images.json
	done <.adafs/records.sorted
	span_dates
}

span_dates() {
	LC_ALL=C sort .adafs/dates >.adafs/dates.sorted
	first_date=
	IFS= read -r first_date <.adafs/dates.sorted
	last_date=$(tail -n 1 .adafs/dates.sorted)
}

# Nothing to merge: outputs get the content that the pipeline gives for that.
write_when_empty() {
	clear_folder
	number=0
	while IFS=$tab read -r name _ _ path _; do
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

# or_null TEXT: a JSON string of a text that needs no escapes.
or_null() {
	if [ -n "$1" ]; then
		printf '"%s"' "$1"
	else
		printf null
	fi
}

write_summary() {
	printf '{\n"event": %s,\n"pipeline": "%s",\n"count": %s,\n"job": "%s",\n"run": %s,\n' \
		"${ADAFS_EVENT_JSON:-\"\"}" "${ADAFS_PIPELINE:-}" "$count" "$ADAFS_JOB" "${ADAFS_RUN:-1}"
	printf '"pipeline_digest": %s,\n"container": %s,\n"container_digest": %s,\n' \
		"$(or_null "${ADAFS_PIPELINE_DIGEST:-}")" "$(or_null "$container")" \
		"$(or_null "$container_digest")"
	printf '"written": "%s",\n' "$written"
	printf '"dates": {"first": %s, "last": %s, "unknown": %s},\n' \
		"$(or_null "$first_date")" "$(or_null "$last_date")" "$undated"
	printf '"expected": %s,\n"done": %s,\n"empty": %s,\n"failed": %s,\n' \
		"$expected" "$done" "$empty" "$failed"
	printf '"skipped": 0,\n"unassessed": %s,\n"files": ' "$unassessed"
	json_list .adafs/merged.json
	printf ',\n"images": '
	json_list .adafs/images.json
	printf '\n}\n'
}

# The same in words, for a report.
write_text() {
	event=${ADAFS_EVENT_JSON:-\"\"}
	event=${event#\"}
	digest=${ADAFS_PIPELINE_DIGEST:-}
	rest=${digest#????????????}
	what=Images
	in_all=
	if [ "$images" -ne "$expected" ]; then
		what='Sets of images'
		in_all=" ($images images)"
	fi
	printf 'Event: %s\n' "${event%\"}"
	printf 'Pipeline: %s%s\n' "${ADAFS_PIPELINE:-}" "${digest:+, digest ${digest%"$rest"}}"
	printf 'Container: %s\n' "${container:-none}"
	printf 'Written: %s by run %s of job %s\n' "$written" "${ADAFS_RUN:-1}" "$ADAFS_JOB"
	printf '%s: %s expected%s, %s done, %s empty, %s failed, %s unassessed\n' \
		"$what" "$expected" "$in_all" "$done" "$empty" "$failed" "$unassessed"
	case $first_date in
	'') printf 'Acquired: unknown' ;;
	"$last_date") printf 'Acquired: %s' "$first_date" ;;
	*) printf 'Acquired: %s to %s' "$first_date" "$last_date" ;;
	esac
	if [ -n "$first_date" ] && [ "$undated" -gt 0 ]; then
		printf '; unknown of %s of %s images' "$undated" "$images"
	fi
	printf '\n'
	[ "$not_done" -gt 0 ] || return 0
	printf '\nNot in the map:\n'
	cat .adafs/not_done
	[ "$not_done" -le 200 ] || printf '... and %s more\n' $((not_done - 200))
}

# What is published is complete or not there: the folder is made only when all is well.
publish() {
	to=".adafs/merged/$count-${ADAFS_MERGE_ID:-0}"
	: >.adafs/merged.json
	mkdir -p "$to" || return 1
	while IFS=$tab read -r _ _ _ path _; do
		[ -f "$path" ] || continue
		place_file "$path" "$to/${path##*/}" || return 1
		measure "$path"
		printf '{"path": "%s", "size": %s}\n' "${path##*/}" "$bytes" >>.adafs/merged.json
	done <.adafs/outputs
	# What no reference of an image holds is left out rather than escaped.
	container=$(printf %s "${ADAFS_CONTAINER:-}" | LC_ALL=C tr -d '\000-\037\177\042\134')
	container_digest=
	case $container in
	*@sha256:*) container_digest=sha256:${container##*@sha256:} ;;
	esac
	written=$(date -u +%Y-%m-%dT%H:%M:%SZ)
	write_text >.adafs/summary.txt || return 1
	LC_ALL=C tr -d '\000-\011\013-\037\177' <.adafs/summary.txt >"$to/summary.txt" || return 1
	measure "$to/summary.txt"
	printf '{"path": "summary.txt", "size": %s}\n' "$bytes" >>.adafs/merged.json
	write_summary >"$to/summary.json"
}

# The command over what was chosen, and the new map.
make_map() {
	: >.adafs/files.json
	if [ "$done" -gt 0 ] && [ -n "${ADAFS_COMMAND:-}" ]; then
		check_inputs || return 97
		run_attempts || return $?
	else
		write_when_empty || return 1
	fi
	publish
}

# --- a tree of merges ---------------------------------------------------------------------------

# Every job that a merge was told of counts, whether it left a part or not.
note_missing() {
	write_lines "${ADAFS_PARTS_OF:-}" >.adafs/parts_of
	while read -r job need; do
		if [ "$need" = must ] && [ ! -f "$ADAFS_PARTS/$job/part.json" ]; then
			printf 'missing-%s - %s failed not run\n' "$job" "$job" >>.adafs/records
		fi
	done <.adafs/parts_of
}

# What a leaf tells the root: its share of the map in out/, and of the summary in tally/.
write_leaf() {
	mkdir -p .adafs/leaf/tally || return 1
	if [ "$done" -gt 0 ]; then
		mkdir -p .adafs/leaf/out || return 1
		while IFS=$tab read -r _ _ _ path _; do
			[ -f "$path" ] || continue
			place_file "$path" ".adafs/leaf/out/${path##*/}" || return 1
		done <.adafs/outputs
	fi
	cp -f .adafs/images.json .adafs/dates .adafs/not_done .adafs/leaf/tally/ || return 1
	printf '%s %s\n' count "$count" expected "$expected" 'done' "$done" empty "$empty" \
		failed "$failed" unassessed "$unassessed" images "$images" undated "$undated" \
		not_done "$not_done" >.adafs/leaf/tally/counts
}

run_leaf() {
	rm -rf .adafs/leaf
	noted=0
	list_parts
	note_missing
	choose_parts || return 1
	: >.adafs/files.json
	if [ "$done" -gt 0 ]; then
		check_inputs || return 97
		run_attempts || return $?
	fi
	write_leaf
}

# read_tally FOLDER: the counts of a leaf on top of those of others.
read_tally() {
	while read -r name number; do
		is_number "$number" || return 1
		case $name in
		count) count=$((count + number)) ;;
		expected) expected=$((expected + number)) ;;
		done) done=$((done + number)) ;;
		empty) empty=$((empty + number)) ;;
		failed) failed=$((failed + number)) ;;
		unassessed) unassessed=$((unassessed + number)) ;;
		images) images=$((images + number)) ;;
		undated) undated=$((undated + number)) ;;
		not_done) not_done=$((not_done + number)) ;;
		esac
	done <"$1/counts"
	cat "$1/images.json" >>.adafs/images.json
	cat "$1/dates" >>.adafs/dates
	cat "$1/not_done" >>.adafs/not_done.all
}

# A map without the images of one leaf would look whole: without all leaves there is none.
run_root() {
	count=${ADAFS_COUNT_BASE:-0}
	expected=0 done=0 empty=0 failed=0 unassessed=0
	images=0 undated=0 not_done=0
	rm -rf .adafs/chosen
	mkdir -p .adafs/chosen || return 1
	: >.adafs/images.json
	: >.adafs/dates
	: >.adafs/not_done.all
	leaf=0
	while [ "$leaf" -lt "$ADAFS_LEAVES" ]; do
		folder="$ADAFS_PARTS/$leaf"
		if ! read_tally "$folder/tally" 2>/dev/null; then
			message="leaf-$leaf did not end well, so that the map would lack its images"
			return 1
		fi
		if [ -d "$folder/out" ]; then
			place_folder "$folder/out" ".adafs/chosen/$leaf" || return 1
		fi
		leaf=$((leaf + 1))
	done
	head -n 200 .adafs/not_done.all >.adafs/not_done
	span_dates
	make_map
}

run_merge() {
	rm -rf .adafs/merged
	cause=merge
	message='the parts could not be read; see stderr.txt'
	case $ADAFS_MODE in
	leaf) run_leaf || return $? ;;
	root) run_root || return $? ;;
	*)
		noted=0
		[ "$ADAFS_MODE" = event ] || note_own_part
		list_parts
		[ "$ADAFS_MODE" != event ] || note_missing
		choose_parts || return 1
		make_map || return $?
		;;
	esac
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
case ${ADAFS_MODE:-step} in
merge | event | leaf | root)
	run_merge
	finish $?
	;;
esac
if ! check_inputs; then
	result=skipped
	finish 97
fi
if [ -n "$idle" ]; then
	result=completed
	message='there is no share for this shard'
	: >.adafs/outputs.json
	say "$message"
	finish 0
fi
run_attempts
finish $?
