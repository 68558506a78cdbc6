#compdef @NAME@
# Completion for @NAME@. Printed by `@NAME@ completions zsh`; works when sourced and as a file in $fpath.
@FUNCTION@() {
    local line value help prefix
    local -a answer values shown
    # without quotes; an unclosed quote is closed first
    local current=${(Q)${:-$QIPREFIX$IPREFIX$PREFIX${QIPREFIX:+$compstate[quote]}}}
    answer=("${(@f)$(INVOKE_PERSIST_COMPLETE=zsh @PROGRAM@ "${(@Q)words[1,CURRENT-1]}" "$current" 2>/dev/null)}")
    # the option of --option=value is kept, because its value may be quoted
    compset -P '--*=' && prefix=$IPREFIX
    case $answer[1] in
        (files) _files ;;
        (directories) _files -/ ;;
        (words)
            for line in "${(@)answer[2,-1]}"; do
                value=${line%%$'\t'*}
                value=${value#"$prefix"}
                # at the next Tab, zsh reads $' as a quote, even within double quotes
                [[ $compstate[quote] == \" && $value == *\$\'* ]] && continue
                help=${line#*$'\t'}
                values+=("$value")
                shown+=("$value${help:+  -- $help}")
            done
            # -V keeps the order of the answer
            (( $#values )) && compadd -V @FUNCTION@ -l -d shown -a values
            ;;
    esac
}
if [[ $funcstack[1] == @FUNCTION@ ]]; then
    @FUNCTION@ "$@"
else
    compdef @FUNCTION@ @NAME@
fi
