using System.Diagnostics;
using System.Globalization;
using Doppel.Nested;
using Doppel.Vmm.Images;

// Runs inside the nested host: doppel-nested RESULTS [PART OF A NAME...]
string results = args[0];
string directory = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache/doppel/images");
GuestImage image = new ImageStore(directory).Find(BusyboxImageBuilder.ImageName) ?? throw new NestedException($"there is no image {BusyboxImageBuilder.ImageName} in {directory}");
int failures = 0;
foreach ((string name, Func<Task<string>> run) in new Scenarios(image).All)
{
    if (args.Length > 1 && !args[1..].Any(part => name.Contains(part, StringComparison.Ordinal)))
        continue;
    long begin = Stopwatch.GetTimestamp();
    string outcome;
    try
    {
        outcome = "passed | " + await run();
    }
    catch (Exception e)
    {
        failures++;
        outcome = "FAILED | " + e.Message.ReplaceLineEndings(" ");
        Console.Error.WriteLine(e);
    }

    string line = string.Create(CultureInfo.InvariantCulture, $"| {name} | {Stopwatch.GetElapsedTime(begin).TotalSeconds:0} s | {outcome} |");
    Console.WriteLine(line);
    await File.AppendAllTextAsync(results, line + "\n");
}

return failures == 0 ? 0 : 1;
