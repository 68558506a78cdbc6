# Completion for @NAME@. Printed by `@NAME@ completions powershell`.
Register-ArgumentCompleter -Native -CommandName @NAME@ -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    # Words as they are written. Code in them is not run.
    $words = @(foreach ($element in $commandAst.CommandElements) {
        if ($element.Extent.StartOffset -ge $cursorPosition) { break }
        if ($element -is [System.Management.Automation.Language.StringConstantExpressionAst]) {
            $element.Value
        } else {
            $element.Extent.Text
        }
    })
    # A number, because older versions drop an empty argument.
    $before = if ($wordToComplete) { $words.Count - 1 } else { $words.Count }
    $variable = $env:INVOKE_PERSIST_COMPLETE
    $encoding = [Console]::OutputEncoding
    try {
        $env:INVOKE_PERSIST_COMPLETE = 'powershell'
        [Console]::OutputEncoding = [System.Text.Encoding]::UTF8
        $answer = @(& @PROGRAM@ $before @words 2>$null)
    } finally {
        $env:INVOKE_PERSIST_COMPLETE = $variable
        [Console]::OutputEncoding = $encoding
    }
    # Without a result, PowerShell completes paths.
    if ($answer[0] -eq 'words') {
        $answer | Select-Object -Skip 1 | ForEach-Object {
            $inserted, $shown, $help = $_.Split("`t")
            if (-not $help) { $help = $shown }
            [System.Management.Automation.CompletionResult]::new($inserted, $shown, 'ParameterValue', $help)
        }
    }
}
