namespace Doppel.Api;

/// <summary>A request that the daemon refuses; the message is one line that says why.</summary>
/// <param name="status">The HTTP status: 400 for a wrong value, 404 for no such machine, 409 for one that is not in the right state.</param>
/// <param name="message">The line.</param>
public sealed class ApiException(int status, string message) : Exception(message)
{
    /// <summary>The HTTP status.</summary>
    public int Status { get; } = status;
}
