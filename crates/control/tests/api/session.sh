# Every call of section "The API", as someone tries them one after another with curl.
#
# GRAYGATE_URL is the control plane; ADMIN, LI (an operator) and WANG (an approver) are tokens; LI's password is PASSWORD.
# `call STATUS METHOD PATH` asks; the body is in the file `answer` and what came before it in `head`.
set -euo pipefail

call() {
    local want=$1 method=$2 path=$3 got
    shift 3
    got=$(curl -sS -o answer -D head -w '%{http_code}' -X "$method" -H "Authorization: Bearer ${AS:-$LI}" "$@" \
        "$GRAYGATE_URL/api/v1$path")
    echo "$method $path" >>called
    if [[ $got != "$want" ]]; then
        echo "$method $path: $got instead of $want: $(cat answer)"
        exit 1
    fi
    if [[ $got -ge 400 ]]; then
        grep -qi '^content-type: application/problem+json' head || { echo "$method $path: no problem"; exit 1; }
        jq -e '.title and .status and .detail' answer >>said || { echo "$method $path: $(cat answer)"; exit 1; }
    fi
}
is() { # of the answer, by a filter of jq
    jq -e "$1" answer >>said || { echo "not so: $1: $(cat answer)"; exit 1; }
}
has() { grep -qF -- "$1" answer || { echo "no \`$1\`: $(cat answer)"; exit 1; }; }
etag() { sed -n 's/^etag: *//Ip' head | tr -d '\r'; }
new=(-H 'If-None-Match: *')

# Who am I, and who may come in?
call 200 GET /me
is '.user == "li" and .via == "token" and .actions["document.put"].allowed and (.actions["user.add"].why | length > 0)'
AS=none call 401 GET /me
AS=none call 401 GET /documents

# A session begins with a password. Its writes carry a proof, and it ends.
got=$(curl -sS -c jar -o answer -w '%{http_code}' "$GRAYGATE_URL/api/v1/session" -H 'Content-Type: application/json' \
    -d "{\"user\": \"li\", \"password\": \"$PASSWORD\"}")
[[ $got == 201 ]]
echo 'POST /session' >>called
csrf=$(jq -r .csrf answer)
[[ $(curl -sS -b jar "$GRAYGATE_URL/api/v1/me" | jq -r .via) == session ]]
[[ $(curl -sS -b jar -o answer -w '%{http_code}' -X DELETE "$GRAYGATE_URL/api/v1/session") == 403 ]]
[[ $(curl -sS -b jar -o answer -w '%{http_code}' -X DELETE -H "X-Graygate-Csrf: $csrf" "$GRAYGATE_URL/api/v1/session") == 204 ]]
echo 'DELETE /session' >>called
[[ $(curl -sS -b jar -o answer -w '%{http_code}' "$GRAYGATE_URL/api/v1/me") == 401 ]]

# A service of two versions.
cat >service.yaml <<'YAML'
identity: [header:x-user]
aliases: {release: v7, gray: v8} # the two words of this service
instances:
  - {address: "127.0.0.1:9001", version: v7}
  - {address: "127.0.0.1:9002", version: v8}
YAML
call 428 PUT /documents/services/patient --data-binary @service.yaml
call 201 PUT /documents/services/patient "${new[@]}" --data-binary @service.yaml
call 200 GET /documents/services/patient
cmp answer service.yaml
call 200 GET '/documents?kind=service'
is '.items | length == 1'

# A rule: tried first, then written as it was shown, then changed by someone who read it.
rule='# testers first
services: [patient]
version: gray
when: {attribute: header:x-tester, exists: true}
'
call 200 PUT '/documents/rules/testers?dry_run=true' --data-binary "$rule"
is '.problems == [] and (.diff | contains("+version: gray"))'
hash=$(jq -r .hash answer)
call 404 GET /documents/rules/testers
call 201 PUT "/documents/rules/testers?hash=$hash&reason=first" "${new[@]}" --data-binary "$rule"
first=$(etag)
call 412 PUT /documents/rules/testers "${new[@]}" --data-binary "$rule"
call 428 PUT /documents/rules/testers --data-binary "$rule"
call 200 PUT /documents/rules/testers -H "If-Match: $first" --data-binary "${rule/x-tester/x-pilot}"
second=$(etag)
call 412 PUT /documents/rules/testers -H "If-Match: $first" --data-binary "$rule"
call 422 PUT /documents/rules/testers -H "If-Match: $second" --data-binary 'verson: gray'
is '.problems[0].document == "rules/testers" and (.problems[0].help | contains("version"))'

# What was it before? Back to it, gone, and there again.
call 200 GET /documents/rules/testers/history
is '.items | length == 2 and .[0].who == "li" and .[1].before == null'
to=$(jq .items[1].revision answer)
call 200 POST /documents/rules/testers/undo -H "If-Match: $second" -d "{\"to\": $to}"
call 200 GET /documents/rules/testers
[[ $(cat answer) == "${rule%$'\n'}" ]]
call 204 DELETE '/documents/rules/testers?reason=over' -H "If-Match: $(etag)"
call 200 POST /documents/rules/testers/undo "${new[@]}" -d "{\"to\": $to}"

# An instance by itself.
one='{address: "127.0.0.1:9003", version: v8}'
call 201 PUT /documents/instances/patient/p3 "${new[@]}" --data-binary "$one"
call 200 GET /documents/instances/patient/p3
call 200 GET /documents/instances/patient/p3/history
to=$(jq .items[0].revision answer)
call 200 GET /documents/instances/patient/p3
call 204 DELETE /documents/instances/patient/p3 -H "If-Match: $(etag)"
call 200 POST /documents/instances/patient/p3/undo "${new[@]}" -d "{\"to\": $to}"

# A list, as a whole and member by member.
call 201 PUT /lists/pilots --data-binary $'alice\nbob\n'
call 200 GET '/lists/pilots?contains=alice'
is '. == {"contains": true, "members": 2}'
call 200 POST /lists/pilots/members -d '{"add": ["carol"], "remove": ["bob"]}'
is '. == {"added": 1, "removed": 1}'
call 200 GET /lists/pilots
[[ $(sort answer | paste -sd,) == alice,carol ]]
call 422 POST /lists/pilots/members -d '{"add": ["two\nlines"]}'

# Several at once, all or nothing.
change='{"puts": {"rules/pilots": "services: [patient]\nversion: gray\nwhen: {attribute: header:x-user, in_list: pilots}\n"}, "reason": "pilots"}'
call 200 POST '/changes?dry_run=true' -d "$change"
is '.problems == []'
call 200 POST /changes -d "$change"
call 422 POST /changes -d '{"puts": {"rules/a": "services: [patient]\nversion: gray\n", "rules/b": "version: 7\n"}}'
call 404 GET /documents/rules/a

# Which version would someone get, and who would move?
call 200 POST /explain -d '{"url": "/", "headers": [["x-user", "alice"]]}'
call 200 POST /explain -d '{"url": "/", "drafts": {"rules/all": "services: [patient]\nversion: gray\n"}}'
is 'has("draft")'
call 200 POST /replay -d '{"drafts": {"rules/all": "services: [patient]\nversion: gray\n"}, "sample": {"identities": 100}}'
is 'has("requests") and has("moved") and has("by") and has("examples")'

# What is live.
call 200 GET /services
has '"patient"'
call 200 GET /fleet
call 200 GET /registries

# A plan from its draft to a release, and back.
cat >plan.yaml <<'YAML'
title: Patient 8
services: [patient]
version: gray
steps:
  - {share: 5, hold: 10m, approval: true}
  - {share: 25, hold: 10m}
  - {share: 100, hold: 10m}
YAML
call 200 PUT '/plans/patient-8?dry_run=true' --data-binary @plan.yaml
call 201 PUT /plans/patient-8 "${new[@]}" --data-binary @plan.yaml
plan=$(etag)
call 200 GET /plans/patient-8
is '.state == "DRAFT" and .run == 0'
call 200 GET /plans/patient-8 -H 'Accept: application/yaml'
cmp answer plan.yaml
call 200 GET /plans
is '.items[0].name == "patient-8" and .next == null'
call 428 POST /plans/patient-8/start -d '{}'
call 200 POST /plans/patient-8/start -H "If-Match: $plan" -d '{"reason": "pilots are well"}'
call 409 POST /plans/patient-8/start -H "If-Match: $plan" -d '{}'
call 200 GET /plans/patient-8
is '.state == "ACTIVE" and .run == 1 and .share == 0'
hash=$(jq -r .hash answer)
call 403 POST /plans/patient-8/approve -H "If-Match: $(etag)" -d "{\"hash\": \"$hash\"}"
call 200 GET /plans/patient-8
AS=$WANG call 200 POST /plans/patient-8/approve -H "If-Match: $(etag)" -d "{\"hash\": \"$hash\"}"
is '.share == 5'
call 200 POST /plans/patient-8/pause -H "If-Match: $(etag)" -d '{"reason": "lunch"}'
call 409 POST /plans/patient-8/advance -H "If-Match: $(etag)" -d '{}'
call 200 GET /plans/patient-8
call 200 POST /plans/patient-8/resume -H "If-Match: $(etag)" -d '{}'
call 200 POST /plans/patient-8/advance -H "If-Match: $(etag)" -d '{"reason": "no traffic here"}'
is '.share == 25'
call 200 POST /plans/patient-8/complete -H "If-Match: $(etag)" -d '{"reason": "it is well"}'
is '.state == "COMPLETED" and .share == 100'
call 200 POST /plans/patient-8/promote -H "If-Match: $(etag)" -d '{}'
call 200 POST /plans/patient-8/rollback -d '{"reason": "it was not"}'
is 'has("confirmed") and has("of") and has("stragglers") and has("lost") and has("warnings")'
cp answer outcome
call 200 POST /plans/patient-8/rollback -d '{}'
cmp answer outcome
call 404 POST /plans/patient-8/fly -d '{}'
call 200 GET /plans/patient-8/runs
is '.items[0].run == 1 and (.items[0].transitions | length > 5)'
call 200 GET '/plans/patient-8/evidence?run=1'
call 200 GET '/plans/patient-8/evidence?run=1&blocks=true'
call 200 GET /plans/patient-8/report
has 'Patient 8'
call 200 GET /plans/patient-8/report -H 'Accept: text/markdown'
call 200 GET /plans/patient-8
call 204 DELETE /plans/patient-8 -H "If-Match: $(etag)"
call 404 GET /plans/patient-8

# Someone refuses a step.
sed 's/Patient 8/Once more/' plan.yaml >again.yaml
call 201 PUT /plans/again "${new[@]}" --data-binary @again.yaml
call 200 POST /plans/again/start -H "If-Match: $(etag)" -d '{}'
AS=$WANG call 200 POST /plans/again/reject -H "If-Match: $(etag)" -d '{"reason": "not today"}'
is '.state == "PAUSED"'
call 200 POST /plans/again/rollback -d '{}'

# `portal` needs a second person: what is shown is what is approved.
AS=$ADMIN call 202 PUT /documents/services/portal "${new[@]}" --data-binary @service.yaml
is '.proposal.who == "admin" and (.proposal.diff | contains("+"))'
id=$(jq -r .proposal.id answer) hash=$(jq -r .proposal.hash answer)
call 200 GET /proposals
call 200 GET "/proposals/$id"
AS=$ADMIN call 403 POST "/proposals/$id/approve" -d "{\"hash\": \"$hash\"}"
AS=$WANG call 412 POST "/proposals/$id/approve" -d '{"hash": "another"}'
AS=$WANG call 200 POST "/proposals/$id/approve" -d "{\"hash\": \"$hash\"}"
call 200 GET /documents/services/portal
call 202 DELETE /documents/services/portal -H "If-Match: $(etag)"
id=$(jq -r .proposal.id answer)
AS=$WANG call 200 POST "/proposals/$id/reject" -d '{"reason": "it is needed"}'

# Configuration values.
call 201 PUT /configs/user-service/prod/database/pool "${new[@]}" -d '{"value": "10"}'
call 200 GET /configs/user-service/prod/database/pool
is '. == {"value": "10"}'
tag=$(etag)
call 200 GET '/configs?app=user-service'
is '.items | length == 1'
call 204 DELETE /configs/user-service/prod/database/pool -H "If-Match: $tag"

# People and tokens are an administrator's.
call 403 GET /users
AS=$ADMIN call 201 POST /users -d '{"name": "zhao", "password": "a long enough one", "roles": [{"role": "editor", "services": ["patient"]}]}'
AS=$ADMIN call 200 GET /users
AS=$ADMIN call 200 GET /users/zhao
AS=$ADMIN call 200 PUT /users/zhao -H "If-Match: $(etag)" -d '{"roles": [{"role": "viewer"}]}'
AS=$ADMIN call 201 POST /tokens -d '{"name": "ci", "user": "zhao", "role": "viewer", "expires": "2099-01-01T00:00:00Z"}'
id=$(jq -r .id answer) token=$(jq -r .token answer)
AS=$token call 200 GET /me
AS=$ADMIN call 200 GET /tokens
! grep -qF "$token" answer
AS=$ADMIN call 204 DELETE "/tokens/$id"
AS=$token call 401 GET /me
AS=$ADMIN call 200 GET /users/zhao
AS=$ADMIN call 204 DELETE /users/zhao -H "If-Match: $(etag)"

# What happened.
call 200 GET '/audit?who=li&what=rules/testers&limit=2'
is '.items | length == 2'
after=$(jq -r .next answer)
call 200 GET "/audit?who=li&what=rules/testers&limit=2&after=$after"
call 400 GET '/audit?limit=0'
call 200 GET '/audit?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z'
is '.items == [] and .next == null'
call 200 GET /messages
is '.items | length > 0'
id=$(jq -r '.items[0].id' answer)
call 204 POST "/messages/$id/read"

# Events, and where one left them.
change() { # writes the rule once more
    call 200 GET /documents/rules/testers
    call 200 PUT /documents/rules/testers -H "If-Match: $(etag)" --data-binary "$rule# $1"
}
events() { # FILE SECONDS [of curl]: what comes in that time
    curl -sS -N -m "$2" -H "Authorization: Bearer $LI" "${@:3}" "$GRAYGATE_URL/api/v1/events" >"$1" 2>>said || true
}
events heard 4 &
until grep -q '^event: document' heard; do change "$RANDOM"; done
wait
echo 'GET /events' >>called
last=$(sed -n 's/^id: *//p' heard | tail -1)
change missed
events resumed 2 -H "Last-Event-ID: $last"
grep -q '^event: document' resumed || { echo "behind $last nothing: $(cat heard resumed)"; exit 1; }
if grep -q '^event: reset' resumed; then echo "a reset behind $last: $(cat resumed)"; exit 1; fi
events resumed 2 -H 'Last-Event-ID: no one-1'
[[ $(grep -c '^event: reset' resumed) == 1 ]] || { echo "no reset: $(cat resumed)"; exit 1; }

# Channels of notices, and what became of what was sent: none is set up here.
call 200 GET /channels
call 404 POST /channels/none/test
call 200 GET /deliveries
is '.items == []'
