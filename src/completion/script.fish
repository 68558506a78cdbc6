# Completion for @NAME@. Printed by `@NAME@ completions fish`.
function @FUNCTION@
    set --local token (commandline --current-token --cut-at-cursor)
    # a quote may still be open
    set --local current (string unescape -- $token; or string unescape -- $token\'; or string unescape -- $token\")
    set --local words (commandline --current-process --tokenize --cut-at-cursor)
    set --local answer (INVOKE_PERSIST_COMPLETE=fish @PROGRAM@ $words "$current" 2>/dev/null)
    set --local kind "$answer[1]"
    set --erase answer[1]
    set --local prefix (string match --regex -- '^--[^=]*=' $token)
    set --local path (string replace --regex -- '^--[^=]*=' '' $token)
    switch $kind
        case words
            string join \n -- $answer
        case files
            for found in (__fish_complete_path $path)
                echo "$prefix$found"
            end
        case folders
            for found in (__fish_complete_directories $path)
                echo "$prefix$found"
            end
    end
end
complete --command @NAME@ --no-files --keep-order --arguments '(@FUNCTION@)'
