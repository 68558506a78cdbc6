#compdef @NAME@
# Completion for @NAME@. Printed by `@NAME@ completions zsh`; works when sourced and as a file in $fpath.
@FUNCTION@() {
    local line value help prefix
    local -a answer values shown
    # without its quotes; one that is still open is closed for that
    local current=${(Q)${:-$QIPREFIX$IPREFIX$PREFIX${QIPREFIX:+$compstate[quote]}}}
    answer=("${(@f)$(INVOKE_PERSIST_COMPLETE=zsh @PROGRAM@ "${(@Q)words[1,CURRENT-1]}" "$current" 2>/dev/null)}")
    # the option of --option=value stays, for its value may be within quotes
    compset -P '--*=' && prefix=$IPREFIX
    case $answer[1] in
        (files) _files ;;
        (folders) _files -/ ;;
        (words)
            for line in "${(@)answer[2,-1]}"; do
                value=${line%%$'\t'*}
                value=${value#"$prefix"}
                # at the next Tab zsh takes $' for a quote, also within double quotes
                [[ $compstate[quote] == \" && $value == *\$\'* ]] && continue
                help=${line#*$'\t'}
                values+=("$value")
                shown+=("$value${help:+  -- $help}")
            done
            # -V: in the order of the answer
            (( $#values )) && compadd -V @FUNCTION@ -l -d shown -a values
            ;;
    esac
}
if [[ $funcstack[1] == @FUNCTION@ ]]; then
    @FUNCTION@ "$@"
else
    compdef @FUNCTION@ @NAME@
fi
