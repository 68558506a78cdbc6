# Completion for @NAME@. Printed by `@NAME@ completions elvish`.
use str
set edit:completion:arg-completer[@NAME@] = {|@words|
    tmp E:INVOKE_PERSIST_COMPLETE = elvish
    var answer = [((external @PROGRAM@) $@words | from-lines)]
    if (== (count $answer) 0) {
        return
    } elif (eq $answer[0] words) {
        for line $answer[1..] {
            var value help = (str:split "\t" $line)
            if (eq $help '') {
                put $value
            } else {
                edit:complex-candidate $value &display=$value' -- '$help
            }
        }
    } else {
        edit:complete-filename $@words
    }
}
