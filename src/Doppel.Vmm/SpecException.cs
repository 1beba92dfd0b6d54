namespace Doppel.Vmm;

/// <summary>A specification that can't be: the message is one line that names what was given and what would be right.</summary>
public sealed class SpecException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="field">The field of <see cref="MachineSpec"/>, in the form of the command's option, for example "memory".</param>
    /// <param name="message">What is wrong and what would be right.</param>
    public SpecException(string field, string message)
        : base(message) => Field = field;

    /// <summary>The field, in the form of the command's option.</summary>
    public string Field { get; }
}
