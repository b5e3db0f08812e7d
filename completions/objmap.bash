# SPDX-License-Identifier: MIT
# Completion of objmap(1) for bash. Needs nothing of the package bash-completion but to be found by it; to be sourced
# elsewhere. tests/lint/completions.py compares what it offers with the manual page.

_objmap_commands="get cat stat ping stats top reload drain bench"

# What may stand behind a command; without one, before it.
_objmap_options()
{
        case $1 in
        get) echo "-f -c -o --force --continue --output --mode --range --udp" ;;
        cat) echo "--mode --range --udp" ;;
        stat) echo "--json" ;;
        ping) echo "-c --count" ;;
        stats) echo "--json --openmetrics" ;;
        top) echo "--count --interval" ;;
        bench)
                echo "--uris --tree --prefix --mode --connections --depth --threads --duration --count --transient"
                echo "--no-spin --no-batch --ring --pid --json"
                ;;
        esac
        echo "--socket --protocol --timeout --help --version"
}

_objmap_takes_value()
{
        case $1:$2 in
        *:--socket | *:--protocol | *:--timeout | *:--mode | *:--range | *:--udp | *:--output | *:--count) ;;
        *:--interval | *:--uris | *:--tree | *:--prefix | *:--connections | *:--depth | *:--threads) ;;
        *:--duration | *:--pid | get:-o | ping:-c) ;;
        *) return 1 ;;
        esac
}

_objmap_values()
{
        case $1:$2 in
        *:--socket | *:--output | get:-o | *:--uris)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$3")
                ;;
        *:--tree)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -d -- "$3")
                ;;
        *:--protocol) mapfile -t COMPREPLY < <(compgen -W "1 3" -- "$3") ;;
        bench:--mode) mapfile -t COMPREPLY < <(compgen -W "fd stat ping copy splice auto" -- "$3") ;;
        *:--mode) mapfile -t COMPREPLY < <(compgen -W "fd copy splice auto" -- "$3") ;;
        *:--pid) mapfile -t COMPREPLY < <(compgen -W "$(pidof objmapperd 2>/dev/null)" -- "$3") ;;
        esac
}

# readline makes a word of the = in --mode=copy.
_objmap()
{
        local command="" option="" current="" word i
        COMPREPLY=()
        for ((i = 1; i <= COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                current=$word
                [[ $word == "=" && -n $option ]] && current="" && continue
                ((i == COMP_CWORD)) && break
                if [[ -n $option ]]; then
                        option=""
                elif _objmap_takes_value "$command" "$word"; then
                        option=$word
                elif [[ -z $command && " $_objmap_commands " == *" $word "* ]]; then
                        command=$word
                fi
        done
        if [[ -n $option ]]; then
                _objmap_values "$command" "$option" "$current"
        elif [[ $current == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$(_objmap_options "$command")" -- "$current")
        elif [[ -z $command ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$_objmap_commands" -- "$current")
        fi
}

complete -F _objmap objmap
