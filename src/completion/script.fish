# Completion for @NAME@. Printed by `@NAME@ completions fish`.
function @FUNCTION@_answer
    set --local token (commandline --current-token --cut-at-cursor)
    # a quote may be unclosed
    set --local current (string unescape -- $token; or string unescape -- $token\'; or string unescape -- $token\")
    set --local words (commandline --current-process --tokenize --cut-at-cursor)
    INVOKE_PERSIST_COMPLETE=fish @PROGRAM@ $words "$current" 2>/dev/null
end
function @FUNCTION@
    set --local answer (@FUNCTION@_answer)
    set --local kind "$answer[1]"
    set --erase answer[1]
    switch $kind
        case words
            string join \n -- $answer
        case directories
            set --local token (commandline --current-token --cut-at-cursor)
            set --local option (string match --regex -- '^--[^=]*=' $token)
            for directory in (__fish_complete_directories (string replace --regex -- '^--[^=]*=' '' $token))
                echo "$option$directory"
            end
    end
end
complete --command @NAME@ --no-files --keep-order --arguments '(@FUNCTION@)'
complete --command @NAME@ --force-files --condition 'contains -- files (@FUNCTION@_answer)'
