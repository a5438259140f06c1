#!/bin/sh
# A decoder, its options and a budget from the command line; then the same as a stream of events.
set -eu
url=${LONGTHINK_BASE_URL:-http://127.0.0.1:8000/v1}
ask() {
  curl -sSN --fail-with-body "$url/chat/completions" -H 'content-type: application/json' -d "{
    \"model\": \"longthink-tiny\",
    \"messages\": [{\"role\": \"user\", \"content\": \"Use 11 9 6 1 to make 49\"}],
    \"decoder\": {\"name\": \"rc\", \"turns\": 32},
    \"max_completion_tokens\": 4000,
    \"include_reasoning\": false,
    \"seed\": 1,
    \"stream\": $1
  }"
}
ask false
echo
ask true
