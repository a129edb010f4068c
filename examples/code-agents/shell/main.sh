#!/bin/sh
# A counter of words, by the bare protocol: one JSON message a line. It needs jq, and curl to ask its host for something.
HOST=http://127.0.0.1:7899/v1/agent

result() { jq -cn --argjson id "$id" --argjson result "$1" '{jsonrpc: "2.0", id: $id, result: $result}'; }
failed() { jq -cn --argjson id "$id" --arg why "$2" --argjson code "$1" '{jsonrpc: "2.0", id: $id, error: {code: $code, message: $why}}'; }

# Kept under the message's id and the call's number in it, so that one which is delivered again is done once.
keep() {
    printf '%s' "$line" | jq -c --argjson words "$1" \
        '{params: {key: "words", value: $words, message: .params.id, ordinal: 1}}' |
        curl -sS --fail-with-body -H 'content-type: application/json' --data-binary @- "$HOST/state.set" >&2
}

while IFS= read -r line; do
    method=$(printf '%s' "$line" | jq -r '.method // empty')
    id=$(printf '%s' "$line" | jq -c '.id // null')
    case $method in
    init | start) result null ;;
    message)
        words=$(printf '%s' "$line" | jq -r '.params.input' | wc -w)
        echo "counted $words words" >&2
        if keep "$words"; then result "{\"words\": $words}"; else failed -32000 "the host did not keep it"; fi
        ;;
    shutdown)
        result null
        exit 0
        ;;
    cancel | '') ;;
    *) failed -32601 "this agent has no hook $method" ;;
    esac
done
