namespace Doppel.Vmm.Control;

/// <summary>Answers requests about one machine. Any thread.</summary>
/// <param name="machine">The machine.</param>
public sealed class MachineControl(VirtualMachine machine)
{
    /// <summary>Does what is asked, or says what is wrong with it.</summary>
    public ControlReply Answer(ControlRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        return request.Verb switch
        {
            ControlRequest.Statistics => new ControlReply { Statistics = machine.GetStatistics() },
            _ => new ControlReply { Error = $"verb \"{request.Verb}\": {ControlRequest.Statistics} would be right" },
        };
    }
}
