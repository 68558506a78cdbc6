# Completion for @NAME@. Printed by `@NAME@ completions bash`.
@FUNCTION@() {
    local kind= line=
    COMPREPLY=()
    # Alt-* puts all words in, but takes away a quote that is open before them
    [[ ${COMP_TYPE-} == 42 ]] && return
    # line by line: split by the shell, names with spaces or stars in them would come apart
    {
        IFS= read -r kind
        while IFS= read -r line; do COMPREPLY+=("$line"); done
    } < <(INVOKE_PERSIST_COMPLETE=bash @PROGRAM@ "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    case $kind in
        files) compopt -o bashdefault -o default 2>/dev/null ;;
        directories) compopt -o dirnames 2>/dev/null ;;
    esac
}
# bash before 4.4 sorts by itself
complete -o nosort -F @FUNCTION@ @NAME@ 2>/dev/null || complete -F @FUNCTION@ @NAME@
