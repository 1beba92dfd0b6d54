namespace Doppel.Cli.Terminals;

/// <summary>What the user asks of Doppel by a key.</summary>
internal enum KeyCommand
{
    /// <summary>End the machine.</summary>
    Leave,

    /// <summary>List the keys.</summary>
    Help,

    /// <summary>Go on after the machine has paused by itself.</summary>
    Resume,

    /// <summary>Press the machine's power button.</summary>
    PowerButton,

    /// <summary>Say what the processors are doing.</summary>
    ShowCpus,
}
