# Completion for @NAME@. Printed by `@NAME@ completions bash`.
@FUNCTION@() {
    local kind= line=
    COMPREPLY=()
    # Alt-* inserts all words, but removes an open quote before them
    [[ ${COMP_TYPE-} == 42 ]] && return
    # read line by line, because the shell would split and expand names with spaces or stars
    {
        IFS= read -r kind
        while IFS= read -r line; do COMPREPLY+=("$line"); done
    } < <(INVOKE_PERSIST_COMPLETE=bash @PROGRAM@ "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    case $kind in
        files) compopt -o bashdefault -o default 2>/dev/null ;;
        directories) compopt -o dirnames 2>/dev/null ;;
    esac
}
# bash before 4.4 always sorts
complete -o nosort -F @FUNCTION@ @NAME@ 2>/dev/null || complete -F @FUNCTION@ @NAME@
