<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de_DE">
<context>
    <name>AboutPage</name>
    <message>
        <source>Tacita {0}</source>
        <translation>Tacita {0}</translation>
    </message>
    <message>
        <source>A chat whose language model never hears you.</source>
        <translation>Ein Chat, dessen Sprachmodell Sie nie hört.</translation>
    </message>
    <message>
        <source>Apache License 2.0. Built with the work of many others.</source>
        <translation>Apache-Lizenz 2.0. Gebaut mit der Arbeit vieler anderer.</translation>
    </message>
    <message>
        <source>Licences…</source>
        <translation>Lizenzen …</translation>
    </message>
    <message>
        <source>Open the log folder</source>
        <translation>Ordner der Protokolle öffnen</translation>
    </message>
</context>
<context>
    <name>AppearancePage</name>
    <message>
        <source>Look</source>
        <translation>Aussehen</translation>
    </message>
    <message>
        <source>As the system</source>
        <translation>Wie das System</translation>
    </message>
    <message>
        <source>Light</source>
        <translation>Hell</translation>
    </message>
    <message>
        <source>Dark</source>
        <translation>Dunkel</translation>
    </message>
    <message>
        <source>Text size</source>
        <translation>Schriftgröße</translation>
    </message>
    <message>
        <source>Language</source>
        <translation>Sprache</translation>
    </message>
    <message>
        <source>Tell me when an answer is ready, without a word of it</source>
        <translation>Melden, wenn eine Antwort fertig ist, ohne ein Wort daraus</translation>
    </message>
    <message>
        <source>Show an icon in the system tray</source>
        <translation>Ein Symbol im Infobereich zeigen</translation>
    </message>
    <message>
        <source>This desktop has no system tray.</source>
        <translation>Dieser Desktop hat keinen Infobereich.</translation>
    </message>
    <message>
        <source>&amp;Look</source>
        <translation>&amp;Aussehen</translation>
    </message>
    <message>
        <source>Text &amp;size</source>
        <translation>Schrift&amp;größe</translation>
    </message>
    <message>
        <source>La&amp;nguage</source>
        <translation>S&amp;prache</translation>
    </message>
    <message>
        <source>A new language is used from the next start.</source>
        <translation>Eine neue Sprache gilt ab dem nächsten Start.</translation>
    </message>
    <message>
        <source>Reset this page</source>
        <translation>Diese Seite zurücksetzen</translation>
    </message>
</context>
<context>
    <name>BytePicture</name>
    <message>
        <source>Picture of the encrypted bytes</source>
        <translation>Bild der verschlüsselten Bytes</translation>
    </message>
</context>
<context>
    <name>ChatList</name>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
    <message>
        <source>Temporary chat: never saved</source>
        <translation>Flüchtiger Chat: wird nie gespeichert</translation>
    </message>
    <message>
        <source>Search chats</source>
        <translation>Chats durchsuchen</translation>
    </message>
    <message>
        <source>Chats</source>
        <translation>Chats</translation>
    </message>
    <message>
        <source>Chat deleted</source>
        <translation>Chat gelöscht</translation>
    </message>
    <message>
        <source>Undo</source>
        <translation>Rückgängig</translation>
    </message>
    <message>
        <source>No chat has these words.</source>
        <translation>Kein Chat enthält diese Wörter.</translation>
    </message>
    <message>
        <source>Your chats appear here.</source>
        <translation>Hier erscheinen Ihre Chats.</translation>
    </message>
    <message>
        <source>Rename folder…</source>
        <translation>Ordner umbenennen …</translation>
    </message>
    <message>
        <source>Delete folder, keep its chats</source>
        <translation>Ordner löschen, Chats behalten</translation>
    </message>
    <message>
        <source>Rename…</source>
        <translation>Umbenennen …</translation>
    </message>
    <message>
        <source>Unpin</source>
        <translation>Lösen</translation>
    </message>
    <message>
        <source>Pin to the top</source>
        <translation>Oben anheften</translation>
    </message>
    <message>
        <source>Move to</source>
        <translation>Verschieben nach</translation>
    </message>
    <message>
        <source>Export…</source>
        <translation>Exportieren …</translation>
    </message>
    <message>
        <source>Delete</source>
        <translation>Löschen</translation>
    </message>
    <message>
        <source>No folder</source>
        <translation>Kein Ordner</translation>
    </message>
    <message>
        <source>New folder…</source>
        <translation>Neuer Ordner …</translation>
    </message>
    <message>
        <source>New folder</source>
        <translation>Neuer Ordner</translation>
    </message>
    <message>
        <source>Name</source>
        <translation>Name</translation>
    </message>
    <message>
        <source>Rename chat</source>
        <translation>Chat umbenennen</translation>
    </message>
    <message>
        <source>Title</source>
        <translation>Titel</translation>
    </message>
    <message>
        <source>Rename folder</source>
        <translation>Ordner umbenennen</translation>
    </message>
    <message>
        <source>Folder deleted</source>
        <translation>Ordner gelöscht</translation>
    </message>
</context>
<context>
    <name>ChatPage</name>
    <message>
        <source>Cancel</source>
        <translation>Abbrechen</translation>
    </message>
    <message>
        <source>Your message is sent as soon as the server is ready.</source>
        <translation>Ihre Nachricht wird gesendet, sobald der Server bereit ist.</translation>
    </message>
    <message>
        <source>Reading this prompt takes about {0} and {1} of traffic.</source>
        <translation>Diese Eingabe zu lesen dauert etwa {0} und überträgt {1}.</translation>
    </message>
    <message>
        <source>Reading this prompt takes about {0} and {1} of traffic, padding included.</source>
        <translation>Diese Eingabe zu lesen dauert etwa {0} und überträgt {1}, Füllung eingerechnet.</translation>
    </message>
    <message>
        <source>Editing: sending starts a new branch here. What follows the old message stays reachable with the arrows beside it.</source>
        <translation>Bearbeiten: Beim Senden beginnt hier ein neuer Zweig. Was auf die alte Nachricht folgt, bleibt über die Pfeile daneben erreichbar.</translation>
    </message>
</context>
<context>
    <name>CodeBlock</name>
    <message>
        <source>Copy code</source>
        <translation>Code kopieren</translation>
    </message>
    <message>
        <source>Code</source>
        <translation>Code</translation>
    </message>
    <message>
        <source>code</source>
        <translation>Code</translation>
    </message>
</context>
<context>
    <name>Composer</name>
    <message>
        <source>Write a message</source>
        <translation>Nachricht schreiben</translation>
    </message>
    <message>
        <source>Message</source>
        <translation>Nachricht</translation>
    </message>
    <message>
        <source>Send (Enter)</source>
        <translation>Senden (Eingabe)</translation>
    </message>
    <message>
        <source>Stop (Esc)</source>
        <translation>Anhalten (Esc)</translation>
    </message>
</context>
<context>
    <name>ConnectionForm</name>
    <message>
        <source>Server URL</source>
        <translation>Adresse des Servers</translation>
    </message>
    <message>
        <source>only if the operator gave you one</source>
        <translation>nur, wenn der Betreiber Ihnen eines gab</translation>
    </message>
    <message>
        <source>Access token</source>
        <translation>Zugangskennwort</translation>
    </message>
    <message>
        <source>Model</source>
        <translation>Modell</translation>
    </message>
    <message>
        <source>the server&apos;s default</source>
        <translation>die Vorgabe des Servers</translation>
    </message>
    <message>
        <source>only if your system does not trust it</source>
        <translation>nur, wenn Ihr System ihm nicht vertraut</translation>
    </message>
    <message>
        <source>Pinned certificate (SHA-256)</source>
        <translation>Festgelegtes Zertifikat (SHA-256)</translation>
    </message>
    <message>
        <source>Pin the certificate that this server showed</source>
        <translation>Das Zertifikat festlegen, das dieser Server zeigte</translation>
    </message>
    <message>
        <source>Test connection</source>
        <translation>Verbindung prüfen</translation>
    </message>
    <message>
        <source>&amp;URL</source>
        <translation>&amp;Adresse</translation>
    </message>
    <message>
        <source>Access &amp;token</source>
        <translation>&amp;Zugangskennwort</translation>
    </message>
    <message>
        <source>&amp;Model</source>
        <translation>&amp;Modell</translation>
    </message>
    <message>
        <source>&amp;Certificate</source>
        <translation>&amp;Zertifikat</translation>
    </message>
    <message>
        <source>Testing…</source>
        <translation>Wird geprüft …</translation>
    </message>
    <message>
        <source>Fingerprint of the certificate: {0}</source>
        <translation>Fingerabdruck des Zertifikats: {0}</translation>
    </message>
</context>
<context>
    <name>Controller</name>
    <message>
        <source>The settings could not be saved.</source>
        <translation>Die Einstellungen konnten nicht gespeichert werden.</translation>
    </message>
    <message>
        <source>Free some disk space, or check the folder&apos;s permissions.</source>
        <translation>Schaffen Sie Platz oder prüfen Sie die Rechte des Ordners.</translation>
    </message>
</context>
<context>
    <name>DataDialogs</name>
    <message>
        <source>The exported file is not encrypted.</source>
        <translation>Die exportierte Datei ist nicht verschlüsselt.</translation>
    </message>
    <message>
        <source>Anyone who can read the file can read the chat.</source>
        <translation>Wer die Datei lesen kann, kann den Chat lesen.</translation>
    </message>
    <message>
        <source>Export</source>
        <translation>Exportieren</translation>
    </message>
    <message>
        <source>The file could not be written.</source>
        <translation>Die Datei konnte nicht geschrieben werden.</translation>
    </message>
    <message>
        <source>Import</source>
        <translation>Importieren</translation>
    </message>
    <message>
        <source>The file is too large.</source>
        <translation>Die Datei ist zu groß.</translation>
    </message>
    <message>
        <source>Export fewer chats at once.</source>
        <translation>Exportieren Sie weniger Chats auf einmal.</translation>
    </message>
    <message>
        <source>The file could not be read.</source>
        <translation>Die Datei konnte nicht gelesen werden.</translation>
    </message>
    <message>
        <source>Delete all chats?</source>
        <translation>Alle Chats löschen?</translation>
    </message>
    <message>
        <source>This cannot be undone.</source>
        <translation>Das lässt sich nicht rückgängig machen.</translation>
    </message>
    <message>
        <source>Delete all</source>
        <translation>Alle löschen</translation>
    </message>
    <message>
        <source>Check the folder&apos;s permissions and free space, then try again.</source>
        <translation>Prüfen Sie Rechte und freien Platz des Ordners und versuchen Sie es erneut.</translation>
    </message>
</context>
<context>
    <name>DataPage</name>
    <message>
        <source>Chats are kept encrypted in {0}.</source>
        <translation>Chats liegen verschlüsselt in {0}.</translation>
    </message>
    <message>
        <source>Chats are in memory only and are forgotten when you quit.</source>
        <translation>Chats sind nur im Arbeitsspeicher und beim Beenden vergessen.</translation>
    </message>
    <message>
        <source>Export all chats…</source>
        <translation>Alle Chats exportieren …</translation>
    </message>
    <message>
        <source>Import chats…</source>
        <translation>Chats importieren …</translation>
    </message>
    <message>
        <source>Delete all chats…</source>
        <translation>Alle Chats löschen …</translation>
    </message>
    <message>
        <source>Factory reset…</source>
        <translation>Alles zurücksetzen …</translation>
    </message>
</context>
<context>
    <name>EmptyChat</name>
    <message>
        <source>Progress</source>
        <translation>Fortschritt</translation>
    </message>
    <message>
        <source>Stop connecting</source>
        <translation>Verbinden abbrechen</translation>
    </message>
    <message>
        <source>Temporary chat</source>
        <translation>Flüchtiger Chat</translation>
    </message>
    <message>
        <source>Nothing of this chat is written down. It is gone when you leave it.</source>
        <translation>Von diesem Chat wird nichts gespeichert. Er ist weg, wenn Sie ihn verlassen.</translation>
    </message>
    <message>
        <source>Ask away</source>
        <translation>Fragen Sie</translation>
    </message>
    <message>
        <source>Your words are encrypted on this computer. The server calculates with numbers it cannot read.</source>
        <translation>Ihre Worte werden auf diesem Rechner verschlüsselt. Der Server rechnet mit Zahlen, die er nicht lesen kann.</translation>
    </message>
</context>
<context>
    <name>ErrorCard</name>
    <message>
        <source>Error</source>
        <translation>Fehler</translation>
    </message>
    <message>
        <source>Start the engine again</source>
        <translation>Rechenprogramm neu starten</translation>
    </message>
    <message>
        <source>Try again</source>
        <translation>Noch einmal</translation>
    </message>
    <message>
        <source>Connect again</source>
        <translation>Neu verbinden</translation>
    </message>
    <message>
        <source>Trust the new model…</source>
        <translation>Neuem Modell vertrauen …</translation>
    </message>
    <message>
        <source>Copy details</source>
        <translation>Einzelheiten kopieren</translation>
    </message>
    <message>
        <source>Dismiss</source>
        <translation>Schließen</translation>
    </message>
    <message>
        <source>Trust the model that this server has now?</source>
        <translation>Dem Modell vertrauen, das dieser Server jetzt hat?</translation>
    </message>
    <message>
        <source>Only do this if whoever runs the server told you that it was changed. A server that swaps its model could make replies reveal what you write.</source>
        <translation>Nur dann, wenn der Betreiber des Servers Ihnen gesagt hat, dass es gewechselt wurde. Ein Server, der sein Modell austauscht, könnte Antworten verraten lassen, was Sie schreiben.</translation>
    </message>
    <message>
        <source>Trust it</source>
        <translation>Vertrauen</translation>
    </message>
</context>
<context>
    <name>FindBar</name>
    <message>
        <source>Find in this chat</source>
        <translation>In diesem Chat suchen</translation>
    </message>
    <message>
        <source>Earlier match</source>
        <translation>Frühere Stelle</translation>
    </message>
    <message>
        <source>Later match</source>
        <translation>Spätere Stelle</translation>
    </message>
    <message>
        <source>No match</source>
        <translation>Keine Stelle</translation>
    </message>
    <message>
        <source>{0} of {1}</source>
        <translation>{0} von {1}</translation>
    </message>
</context>
<context>
    <name>FirstRunPage</name>
    <message>
        <source>&amp;Start a local server on this computer</source>
        <translation>Einen lokalen &amp;Server auf diesem Rechner starten</translation>
    </message>
    <message>
        <source>Use a &amp;remote server</source>
        <translation>Einen &amp;entfernten Server verwenden</translation>
    </message>
    <message>
        <source>Start chatting</source>
        <translation>Chat beginnen</translation>
    </message>
    <message>
        <source>Welcome to Tacita</source>
        <translation>Willkommen bei Tacita</translation>
    </message>
    <message>
        <source>A language model answers you, and the computer that does its large sums never learns what you wrote: it calculates with encrypted numbers.</source>
        <translation>Ein Sprachmodell antwortet Ihnen, und der Rechner, der die großen Rechnungen ausführt, erfährt nie, was Sie schrieben: Er rechnet mit verschlüsselten Zahlen.</translation>
    </message>
    <message>
        <source>What you write and what the model answers</source>
        <translation>Was Sie schreiben und was das Modell antwortet</translation>
    </message>
    <message>
        <source>All numbers inside the model that follow from it</source>
        <translation>Alle Zahlen im Modell, die daraus folgen</translation>
    </message>
    <message>
        <source>Saved chats: encrypted, on this computer only</source>
        <translation>Gespeicherte Chats: verschlüsselt, nur auf diesem Rechner</translation>
    </message>
    <message>
        <source>When you chat, and from which network address</source>
        <translation>Wann Sie chatten und von welcher Netzadresse</translation>
    </message>
    <message>
        <source>How long prompts and replies are, and how many</source>
        <translation>Wie lang und wie viele Eingaben und Antworten sind</translation>
    </message>
    <message>
        <source>Which model you use</source>
        <translation>Welches Modell Sie verwenden</translation>
    </message>
    <message>
        <source>The server never sees</source>
        <translation>Der Server sieht nie</translation>
    </message>
    <message>
        <source>The server does see</source>
        <translation>Der Server sieht</translation>
    </message>
    <message>
        <source>Where the model runs</source>
        <translation>Wo das Modell läuft</translation>
    </message>
    <message>
        <source>Good for trying it out: everything stays on this computer. The model is prepared once, which takes a few minutes.</source>
        <translation>Gut zum Ausprobieren: Alles bleibt auf diesem Rechner. Das Modell wird einmal vorbereitet, das dauert einige Minuten.</translation>
    </message>
    <message>
        <source>Where your key is kept</source>
        <translation>Wo Ihr Schlüssel liegt</translation>
    </message>
</context>
<context>
    <name>KeyChoice</name>
    <message>
        <source>In the system &amp;keyring (recommended)</source>
        <translation>Im Schlüssel&amp;bund des Systems (empfohlen)</translation>
    </message>
    <message>
        <source>Sealed with a &amp;passphrase, asked at each start</source>
        <translation>Mit einem &amp;Kennsatz versiegelt, bei jedem Start erfragt</translation>
    </message>
    <message>
        <source>For this &amp;session only: nothing is kept</source>
        <translation>&amp;Nur für diese Sitzung: nichts wird behalten</translation>
    </message>
    <message>
        <source>Passphrase</source>
        <translation>Kennsatz</translation>
    </message>
    <message>
        <source>Passphrase again</source>
        <translation>Kennsatz noch einmal</translation>
    </message>
    <message>
        <source>Chats stay in memory and are forgotten when you quit.</source>
        <translation>Chats bleiben im Arbeitsspeicher und sind beim Beenden vergessen.</translation>
    </message>
    <message>
        <source>At least {0} characters, the same in both fields.</source>
        <translation>Mindestens {0} Zeichen, in beiden Feldern gleich.</translation>
    </message>
    <message>
        <source>The system keyring cannot be reached.</source>
        <translation>Der Schlüsselbund des Systems ist nicht erreichbar.</translation>
    </message>
</context>
<context>
    <name>KeyDialog</name>
    <message>
        <source>Go on even though the keyring cannot be reached</source>
        <translation>Auch ohne Schlüsselbund fortfahren</translation>
    </message>
    <message>
        <source>Cancel</source>
        <translation>Abbrechen</translation>
    </message>
    <message>
        <source>The same again</source>
        <translation>Noch einmal</translation>
    </message>
</context>
<context>
    <name>KeyTools</name>
    <message>
        <source>Change the key…</source>
        <translation>Schlüssel wechseln …</translation>
    </message>
    <message>
        <source>Save a recovery file…</source>
        <translation>Rettungsdatei speichern …</translation>
    </message>
    <message>
        <source>Use a recovery file…</source>
        <translation>Rettungsdatei verwenden …</translation>
    </message>
    <message>
        <source>Delete unused hints</source>
        <translation>Unbenutzte Hints löschen</translation>
    </message>
    <message>
        <source>Erase keys and chats…</source>
        <translation>Schlüssel und Chats löschen …</translation>
    </message>
    <message>
        <source>Recovery and erasing</source>
        <translation>Retten und Löschen</translation>
    </message>
    <message>
        <source>Hints on disk: {0}</source>
        <translation>Hints auf der Festplatte: {0}</translation>
    </message>
    <message>
        <source>Passphrase</source>
        <translation>Kennsatz</translation>
    </message>
    <message>
        <source>A new key is made and everything is sealed anew. Earlier recovery files and backups no longer open this profile.</source>
        <translation>Ein neuer Schlüssel wird erzeugt und alles neu versiegelt. Frühere Rettungsdateien und Sicherungen öffnen dieses Profil nicht mehr.</translation>
    </message>
    <message>
        <source>The key was changed. Save a new recovery file.</source>
        <translation>Der Schlüssel wurde gewechselt. Speichern Sie eine neue Rettungsdatei.</translation>
    </message>
    <message>
        <source>Change the key</source>
        <translation>Schlüssel wechseln</translation>
    </message>
    <message>
        <source>Save a recovery file</source>
        <translation>Rettungsdatei speichern</translation>
    </message>
    <message>
        <source>Choose a passphrase for this file. Keep the file away from this computer.</source>
        <translation>Wählen Sie einen Kennsatz für diese Datei. Bewahren Sie die Datei getrennt von diesem Computer auf.</translation>
    </message>
    <message>
        <source>“{0}” exists already and will be replaced.</source>
        <translation>„{0}“ gibt es schon und wird ersetzt.</translation>
    </message>
    <message>
        <source>Replace the file</source>
        <translation>Datei ersetzen</translation>
    </message>
    <message>
        <source>Passphrase of the file</source>
        <translation>Kennsatz der Datei</translation>
    </message>
    <message>
        <source>The recovery file was written.</source>
        <translation>Die Rettungsdatei wurde geschrieben.</translation>
    </message>
    <message>
        <source>Save</source>
        <translation>Speichern</translation>
    </message>
    <message>
        <source>Use a recovery file</source>
        <translation>Rettungsdatei verwenden</translation>
    </message>
    <message>
        <source>New passphrase at each start</source>
        <translation>Neuer Kennsatz für jeden Start</translation>
    </message>
    <message>
        <source>The key is in place.</source>
        <translation>Der Schlüssel ist eingesetzt.</translation>
    </message>
    <message>
        <source>Data that needs another key is never replaced.</source>
        <translation>Daten, die einen anderen Schlüssel brauchen, werden nie ersetzt.</translation>
    </message>
    <message>
        <source>Use this key</source>
        <translation>Diesen Schlüssel verwenden</translation>
    </message>
</context>
<context>
    <name>LayerRibbon</name>
    <message>
        <source>Layers of the model</source>
        <translation>Schichten des Modells</translation>
    </message>
    <message>
        <source>Each stroke is one encrypted layer group of the present token</source>
        <translation>Jeder Strich ist eine verschlüsselte Schichtgruppe des gegenwärtigen Tokens</translation>
    </message>
</context>
<context>
    <name>LicencesDialog</name>
    <message>
        <source>Licences</source>
        <translation>Lizenzen</translation>
    </message>
    <message>
        <source>Libraries and their licences</source>
        <translation>Bibliotheken und ihre Lizenzen</translation>
    </message>
    <message>
        <source>Tacita is free software under the Apache License 2.0. These libraries come with it, each under its own licence. Qt is used under the LGPL 3: you may replace it.</source>
        <translation>Tacita ist freie Software unter der Apache-Lizenz 2.0. Diese Bibliotheken gehören dazu, jede unter ihrer eigenen Lizenz. Qt wird unter der LGPL 3 verwendet: Sie dürfen es austauschen.</translation>
    </message>
    <message>
        <source>Close</source>
        <translation>Schließen</translation>
    </message>
</context>
<context>
    <name>MainWindow</name>
    <message>
        <source>All replies of this chat, those on other branches too</source>
        <translation>Alle Antworten dieses Chats, auch die auf anderen Zweigen</translation>
    </message>
    <message>
        <source>Show or hide the chats</source>
        <translation>Chats ein- oder ausblenden</translation>
    </message>
    <message>
        <source>Find in this chat</source>
        <translation>In diesem Chat suchen</translation>
    </message>
    <message>
        <source>What the server sees</source>
        <translation>Was der Server sieht</translation>
    </message>
    <message>
        <source>Settings</source>
        <translation>Einstellungen</translation>
    </message>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
    <message>
        <source>Temporary chat · never saved</source>
        <translation>Flüchtiger Chat · nie gespeichert</translation>
    </message>
</context>
<context>
    <name>MessageBody</name>
    <message>
        <source>Reply</source>
        <translation>Antwort</translation>
    </message>
</context>
<context>
    <name>MessageList</name>
    <message>
        <source>Messages</source>
        <translation>Nachrichten</translation>
    </message>
    <message>
        <source>Show earlier messages</source>
        <translation>Frühere Nachrichten zeigen</translation>
    </message>
    <message>
        <source>Show later messages</source>
        <translation>Spätere Nachrichten zeigen</translation>
    </message>
    <message>
        <source>Jump to the end</source>
        <translation>Zum Ende springen</translation>
    </message>
</context>
<context>
    <name>MessageView</name>
    <message>
        <source>Your message</source>
        <translation>Ihre Nachricht</translation>
    </message>
    <message>
        <source>Reply</source>
        <translation>Antwort</translation>
    </message>
    <message>
        <source>Copy message</source>
        <translation>Nachricht kopieren</translation>
    </message>
    <message>
        <source>Edit and send again</source>
        <translation>Bearbeiten und erneut senden</translation>
    </message>
    <message>
        <source>Make another reply</source>
        <translation>Andere Antwort erzeugen</translation>
    </message>
    <message>
        <source>Continue this reply</source>
        <translation>Diese Antwort fortsetzen</translation>
    </message>
    <message>
        <source>Continue</source>
        <translation>Fortsetzen</translation>
    </message>
    <message>
        <source>Previous branch</source>
        <translation>Voriger Zweig</translation>
    </message>
    <message>
        <source>Next branch</source>
        <translation>Nächster Zweig</translation>
    </message>
    <message>
        <source>Branch {0} of {1}</source>
        <translation>Zweig {0} von {1}</translation>
    </message>
    <message>
        <source>Stopped</source>
        <translation>Angehalten</translation>
    </message>
    <message>
        <source>Not finished</source>
        <translation>Nicht fertig</translation>
    </message>
    <message>
        <source>Interrupted</source>
        <translation>Unterbrochen</translation>
    </message>
</context>
<context>
    <name>MeterBar</name>
    <message>
        <source>Sent to the server in this session</source>
        <translation>In dieser Sitzung an den Server gesendet</translation>
    </message>
    <message>
        <source>Received from the server in this session</source>
        <translation>In dieser Sitzung vom Server empfangen</translation>
    </message>
    <message>
        <source>Time for one token</source>
        <translation>Zeit für ein Token</translation>
    </message>
    <message>
        <source>Tokens left before new secrets are made</source>
        <translation>Verbleibende Tokens, bis neue Geheimnisse erzeugt werden</translation>
    </message>
    <message>
        <source>Traffic both ways</source>
        <translation>Verkehr in beide Richtungen</translation>
    </message>
    <message>
        <source>Seconds per token over time</source>
        <translation>Sekunden je Token im Zeitverlauf</translation>
    </message>
    <message>
        <source>Seconds per token over the last {0} tokens</source>
        <translation>Sekunden je Token über die letzten {0} Tokens</translation>
    </message>
    <message>
        <source>Traffic over time</source>
        <translation>Verkehr im Zeitverlauf</translation>
    </message>
    <message>
        <source>MB per second, up and down together</source>
        <translation>MB je Sekunde, gesendet und empfangen zusammen</translation>
    </message>
    <message>
        <source>{0} up</source>
        <translation>{0} gesendet</translation>
    </message>
    <message>
        <source>{0} down</source>
        <translation>{0} empfangen</translation>
    </message>
    <message>
        <source>{0} per token</source>
        <translation>{0} je Token</translation>
    </message>
    <message>
        <source>{0}/s</source>
        <translation>{0}/s</translation>
    </message>
    <message>
        <source>{0} tokens left</source>
        <translation>noch {0} Tokens</translation>
    </message>
</context>
<context>
    <name>ModelChoice</name>
    <message>
        <source>Model</source>
        <translation>Modell</translation>
    </message>
    <message>
        <source>the server&apos;s default</source>
        <translation>die Vorgabe des Servers</translation>
    </message>
    <message>
        <source>&amp;hint: fast, for conversation</source>
        <translation>&amp;hint: schnell, zum Unterhalten</translation>
    </message>
    <message>
        <source>&amp;glwe: the scheme of Concrete ML</source>
        <translation>&amp;glwe: das Verfahren von Concrete ML</translation>
    </message>
    <message>
        <source>Connect with these</source>
        <translation>Damit verbinden</translation>
    </message>
    <message>
        <source>Its hints are downloaded once for each model.</source>
        <translation>Seine Hints werden einmal je Modell geladen.</translation>
    </message>
    <message>
        <source>Its hints are downloaded once for each model: {0} for this one.</source>
        <translation>Seine Hints werden einmal je Modell geladen: {0} für dieses.</translation>
    </message>
    <message>
        <source>No hints, but {0} of keys are uploaded at each connection, a token moves several megabytes and takes minutes to an hour. Without padding. For comparison, not for conversation.</source>
        <translation>Keine Hints, aber bei jeder Verbindung werden {0} Schlüssel hochgeladen, ein Token überträgt mehrere Megabytes und dauert Minuten bis zu einer Stunde. Ohne Füllung. Zum Vergleichen, nicht zum Unterhalten.</translation>
    </message>
    <message>
        <source>&amp;Model</source>
        <translation>&amp;Modell</translation>
    </message>
    <message>
        <source>Scheme of encryption</source>
        <translation>Verschlüsselungsverfahren</translation>
    </message>
    <message>
        <source>Not available: {0}</source>
        <translation>Nicht verfügbar: {0}</translation>
    </message>
    <message>
        <source>Models that were imported here.</source>
        <translation>Modelle, die hier eingelesen wurden.</translation>
    </message>
    <message>
        <source>Asking the server for its models…</source>
        <translation>Der Server wird nach seinen Modellen gefragt …</translation>
    </message>
    <message>
        <source>Models that this server offers.</source>
        <translation>Modelle, die dieser Server anbietet.</translation>
    </message>
    <message>
        <source>No model was imported here yet.</source>
        <translation>Hier wurde noch kein Modell eingelesen.</translation>
    </message>
</context>
<context>
    <name>ModelPage</name>
    <message>
        <source>System prompt</source>
        <translation>Systemanweisung</translation>
    </message>
    <message>
        <source>for example: Answer in short sentences.</source>
        <translation>zum Beispiel: Antworte in kurzen Sätzen.</translation>
    </message>
    <message>
        <source>Temperature</source>
        <translation>Temperatur</translation>
    </message>
    <message>
        <source>Top-p</source>
        <translation>Top-p</translation>
    </message>
    <message>
        <source>Longest reply</source>
        <translation>Längste Antwort</translation>
    </message>
    <message>
        <source> tokens</source>
        <translation> Tokens</translation>
    </message>
    <message>
        <source>another reply each time</source>
        <translation>jedes Mal eine andere Antwort</translation>
    </message>
    <message>
        <source>Seed</source>
        <translation>Startwert</translation>
    </message>
    <message>
        <source>Several tokens per pass</source>
        <translation>Mehrere Tokens je Durchgang</translation>
    </message>
    <message>
        <source>Off: one token at a time</source>
        <translation>Aus: ein Token nach dem anderen</translation>
    </message>
    <message>
        <source>Automatic: where the connection is slow</source>
        <translation>Von selbst: bei langsamer Verbindung</translation>
    </message>
    <message>
        <source>{0} tokens</source>
        <translation>{0} Tokens</translation>
    </message>
    <message>
        <source>System prompt and presets are kept encrypted with your chats.</source>
        <translation>Systemanweisung und Vorlagen liegen verschlüsselt bei Ihren Chats.</translation>
    </message>
    <message>
        <source>How replies are made</source>
        <translation>Wie Antworten entstehen</translation>
    </message>
    <message>
        <source>Tokens per &amp;pass</source>
        <translation>Tokens je &amp;Durchgang</translation>
    </message>
    <message>
        <source>Temperature 0 always takes the likeliest word. Several tokens per pass are guessed from the conversation: faster on a slow connection, but from the number of passes the server learns how much the reply repeats the conversation. With “Automatic” a server can switch this on by answering slowly.</source>
        <translation>Temperatur 0 nimmt stets das wahrscheinlichste Wort. Mehrere Tokens je Durchgang werden aus dem Gespräch erraten: schneller bei langsamer Verbindung, aber aus der Zahl der Durchgänge erfährt der Server, wie sehr die Antwort das Gespräch wiederholt. Bei „Von selbst“ kann ein Server das einschalten, indem er langsam antwortet.</translation>
    </message>
    <message>
        <source>&amp;Temperature</source>
        <translation>&amp;Temperatur</translation>
    </message>
    <message>
        <source>T&amp;op-p</source>
        <translation>T&amp;op-p</translation>
    </message>
    <message>
        <source>&amp;Longest reply</source>
        <translation>&amp;Längste Antwort</translation>
    </message>
    <message>
        <source>&amp;Seed</source>
        <translation>&amp;Startwert</translation>
    </message>
    <message>
        <source>Reset this page</source>
        <translation>Diese Seite zurücksetzen</translation>
    </message>
</context>
<context>
    <name>PaddingChoice</name>
    <message>
        <source>&amp;Hide how long prompts and replies are (padding)</source>
        <translation>&amp;Verbergen, wie lang Eingaben und Antworten sind (Füllung)</translation>
    </message>
    <message>
        <source>Prompts and replies are filled up to multiples of 32 tokens, so the server sees only the number of such blocks. Every filler costs as much as a real token. Not possible with the scheme glwe.</source>
        <translation>Eingaben und Antworten werden auf Vielfache von 32 Tokens aufgefüllt; der Server sieht nur die Zahl solcher Blöcke. Jedes Füllsel kostet so viel wie ein echtes Token. Mit dem Verfahren glwe nicht möglich.</translation>
    </message>
    <message>
        <source>The shortest question and reply then cost about {0} and {1}.</source>
        <translation>Die kürzeste Frage und Antwort kosten dann etwa {0} und {1}.</translation>
    </message>
</context>
<context>
    <name>PassphraseDialog</name>
    <message>
        <source>Unlock your chats</source>
        <translation>Chats entsperren</translation>
    </message>
    <message>
        <source>Passphrase</source>
        <translation>Kennsatz</translation>
    </message>
    <message>
        <source>Unlock</source>
        <translation>Entsperren</translation>
    </message>
    <message>
        <source>Your key is sealed with a passphrase. Enter it to go on.</source>
        <translation>Ihr Schlüssel ist mit einem Kennsatz versiegelt. Geben Sie ihn ein, um fortzufahren.</translation>
    </message>
    <message>
        <source>Not now</source>
        <translation>Nicht jetzt</translation>
    </message>
</context>
<context>
    <name>PrivacyPage</name>
    <message>
        <source>Keep the key this way</source>
        <translation>Schlüssel so aufbewahren</translation>
    </message>
    <message>
        <source>Reset this page</source>
        <translation>Diese Seite zurücksetzen</translation>
    </message>
    <message>
        <source>Everything this app sends</source>
        <translation>Alles, was dieses Programm sendet</translation>
    </message>
    <message>
        <source>Only encrypted numbers and technical requests, to the server you chose and to nobody else: no telemetry, no update check, no crash report.</source>
        <translation>Nur verschlüsselte Zahlen und technische Anfragen, an den Server Ihrer Wahl und an niemanden sonst: keine Nutzungsdaten, keine Suche nach neuen Fassungen, keine Absturzberichte.</translation>
    </message>
    <message>
        <source>Show each kind with its bytes…</source>
        <translation>Jede Art mit ihren Bytes zeigen …</translation>
    </message>
    <message>
        <source>Keyring: {0}</source>
        <translation>Schlüsselbund: {0}</translation>
    </message>
    <message>
        <source>Done.</source>
        <translation>Erledigt.</translation>
    </message>
</context>
<context>
    <name>PromptPresets</name>
    <message>
        <source>Presets</source>
        <translation>Vorlagen</translation>
    </message>
    <message>
        <source>Save as…</source>
        <translation>Speichern als …</translation>
    </message>
    <message>
        <source>Delete</source>
        <translation>Löschen</translation>
    </message>
    <message>
        <source>Undo</source>
        <translation>Rückgängig</translation>
    </message>
    <message>
        <source>Presets…</source>
        <translation>Vorlagen …</translation>
    </message>
    <message>
        <source>Save the system prompt</source>
        <translation>Systemanweisung speichern</translation>
    </message>
    <message>
        <source>Name (the name of a preset that exists changes it)</source>
        <translation>Name (der Name einer vorhandenen Vorlage ändert diese)</translation>
    </message>
    <message>
        <source>Name</source>
        <translation>Name</translation>
    </message>
</context>
<context>
    <name>SafeBrowser</name>
    <message>
        <source>Open this address in your browser?</source>
        <translation>Diese Adresse im Browser öffnen?</translation>
    </message>
    <message>
        <source>The site will see your visit. The model chose this link.</source>
        <translation>Die Seite sieht Ihren Besuch. Das Modell hat diesen Verweis gewählt.</translation>
    </message>
</context>
<context>
    <name>SentDialog</name>
    <message>
        <source>Everything this app sends</source>
        <translation>Alles, was dieses Programm sendet</translation>
    </message>
    <message>
        <source>Close</source>
        <translation>Schließen</translation>
    </message>
    <message>
        <source>All of it goes to the server that you chose, and to nobody else. There is no telemetry, no update check and no crash report.</source>
        <translation>Alles geht an den Server Ihrer Wahl und an niemanden sonst. Es gibt keine Nutzungsdaten, keine Suche nach neuen Fassungen und keine Absturzberichte.</translation>
    </message>
    <message>
        <source>Whatever is sent also shows your network address and the time. The figures are those of this session.</source>
        <translation>Alles Gesendete zeigt auch Ihre Netzadresse und die Uhrzeit. Die Zahlen sind die dieser Sitzung.</translation>
    </message>
    <message>
        <source>The server learns: {0}</source>
        <translation>Der Server erfährt: {0}</translation>
    </message>
    <message>
        <source>not counted</source>
        <translation>nicht gezählt</translation>
    </message>
    <message>
        <source>{0} up · {1} down</source>
        <translation>{0} gesendet · {1} empfangen</translation>
    </message>
</context>
<context>
    <name>ServerPage</name>
    <message>
        <source>Servers</source>
        <translation>Server</translation>
    </message>
    <message>
        <source>Name in this list</source>
        <translation>Name in dieser Liste</translation>
    </message>
    <message>
        <source>as you like, for example: Office</source>
        <translation>nach Belieben, zum Beispiel: Büro</translation>
    </message>
    <message>
        <source>Use this server</source>
        <translation>Diesen Server verwenden</translation>
    </message>
    <message>
        <source>Save</source>
        <translation>Speichern</translation>
    </message>
    <message>
        <source>Add a server</source>
        <translation>Server hinzufügen</translation>
    </message>
    <message>
        <source>Remove</source>
        <translation>Entfernen</translation>
    </message>
    <message>
        <source>&amp;Name</source>
        <translation>&amp;Name</translation>
    </message>
    <message>
        <source>Local server on this computer</source>
        <translation>Lokaler Server auf diesem Rechner</translation>
    </message>
    <message>
        <source>{0}  ·  in use</source>
        <translation>{0}  ·  in Gebrauch</translation>
    </message>
    <message>
        <source>A server program is started on this computer and ends with this window.</source>
        <translation>Ein Serverprogramm startet auf diesem Rechner und endet mit diesem Fenster.</translation>
    </message>
    <message>
        <source>The access token is kept encrypted with your chats, under the key in your keyring; it is never written to the settings file.</source>
        <translation>Das Zugangskennwort liegt verschlüsselt bei Ihren Chats, unter dem Schlüssel in Ihrem Schlüsselbund; in der Datei der Einstellungen steht es nie.</translation>
    </message>
</context>
<context>
    <name>ServerViewPanel</name>
    <message>
        <source>What the server sees</source>
        <translation>Was der Server sieht</translation>
    </message>
    <message>
        <source>Layer</source>
        <translation>Schicht</translation>
    </message>
    <message>
        <source>Follow the layer at work</source>
        <translation>Der arbeitenden Schicht folgen</translation>
    </message>
    <message>
        <source>Send a message: the encrypted bytes of every layer appear here.</source>
        <translation>Senden Sie eine Nachricht: Die verschlüsselten Bytes jeder Schicht erscheinen hier.</translation>
    </message>
    <message>
        <source>You wrote</source>
        <translation>Sie schrieben</translation>
    </message>
    <message>
        <source>The server received</source>
        <translation>Der Server empfing</translation>
    </message>
    <message>
        <source>Layer group {0} of {1}</source>
        <translation>Schichtgruppe {0} von {1}</translation>
    </message>
    <message>
        <source>{0} bytes: {1} × {2} encrypted values of 24 bits. Without your key they look like noise.</source>
        <translation>{0} Bytes: {1} × {2} verschlüsselte Werte zu 24 Bit. Ohne Ihren Schlüssel sehen sie wie Rauschen aus.</translation>
    </message>
</context>
<context>
    <name>SettingsDialog</name>
    <message>
        <source>Settings</source>
        <translation>Einstellungen</translation>
    </message>
    <message>
        <source>Pages</source>
        <translation>Seiten</translation>
    </message>
    <message>
        <source>Server</source>
        <translation>Server</translation>
    </message>
    <message>
        <source>Model</source>
        <translation>Modell</translation>
    </message>
    <message>
        <source>Privacy &amp;&amp; security</source>
        <translation>Datenschutz &amp;&amp; Sicherheit</translation>
    </message>
    <message>
        <source>Appearance</source>
        <translation>Darstellung</translation>
    </message>
    <message>
        <source>Data</source>
        <translation>Daten</translation>
    </message>
    <message>
        <source>About</source>
        <translation>Über</translation>
    </message>
    <message>
        <source>Close</source>
        <translation>Schließen</translation>
    </message>
</context>
<context>
    <name>ShortcutsDialog</name>
    <message>
        <source>Keyboard shortcuts</source>
        <translation>Tastenkürzel</translation>
    </message>
    <message>
        <source>Close</source>
        <translation>Schließen</translation>
    </message>
</context>
<context>
    <name>StatusLine</name>
    <message>
        <source>Status: {0}</source>
        <translation>Zustand: {0}</translation>
    </message>
</context>
<context>
    <name>Tray</name>
    <message>
        <source>Show the window</source>
        <translation>Fenster zeigen</translation>
    </message>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
    <message>
        <source>Quit</source>
        <translation>Beenden</translation>
    </message>
    <message>
        <source>An answer is ready.</source>
        <translation>Eine Antwort ist fertig.</translation>
    </message>
</context>
<context>
    <name>background</name>
    <message>
        <source>A file could not be read or written: {0}.</source>
        <translation>Eine Datei ließ sich nicht lesen oder schreiben: {0}.</translation>
    </message>
    <message>
        <source>Something went wrong.</source>
        <translation>Etwas ist schiefgegangen.</translation>
    </message>
</context>
<context>
    <name>chats</name>
    <message>
        <source>Folder {0}, closed, chats: {1}</source>
        <translation>Ordner {0}, geschlossen, Chats: {1}</translation>
    </message>
    <message>
        <source>Folder {0}, open, chats: {1}</source>
        <translation>Ordner {0}, offen, Chats: {1}</translation>
    </message>
    <message>
        <source>{0}, pinned</source>
        <translation>{0}, angeheftet</translation>
    </message>
</context>
<context>
    <name>connection</name>
    <message>
        <source>The server&apos;s name was not found.</source>
        <translation>Der Name des Servers wurde nicht gefunden.</translation>
    </message>
    <message>
        <source>Check the spelling of the URL and your network connection.</source>
        <translation>Prüfen Sie die Schreibweise der Adresse und Ihre Netzverbindung.</translation>
    </message>
    <message>
        <source>The computer answers, but no server runs there.</source>
        <translation>Der Rechner antwortet, aber dort läuft kein Server.</translation>
    </message>
    <message>
        <source>Start tacita-server there, or check the port in the URL.</source>
        <translation>Starten Sie dort tacita-server oder prüfen Sie den Port in der Adresse.</translation>
    </message>
    <message>
        <source>The server did not answer in time.</source>
        <translation>Der Server hat nicht rechtzeitig geantwortet.</translation>
    </message>
    <message>
        <source>Check that it is running and that no firewall is in between.</source>
        <translation>Prüfen Sie, ob er läuft und ob keine Firewall dazwischen steht.</translation>
    </message>
    <message>
        <source>The secure connection could not be established.</source>
        <translation>Die sichere Verbindung kam nicht zustande.</translation>
    </message>
    <message>
        <source>Ask the server&apos;s operator about its certificate.</source>
        <translation>Fragen Sie den Betreiber des Servers nach dessen Zertifikat.</translation>
    </message>
    <message>
        <source>Something answers there, but it is not a Tacita server.</source>
        <translation>Dort antwortet etwas, aber kein Tacita-Server.</translation>
    </message>
    <message>
        <source>Check the URL, including the port and any path.</source>
        <translation>Prüfen Sie die Adresse samt Port und Pfad.</translation>
    </message>
    <message>
        <source>The server speaks another version of the protocol.</source>
        <translation>Der Server spricht eine andere Fassung des Protokolls.</translation>
    </message>
    <message>
        <source>Update Tacita here or on the server, so that both match.</source>
        <translation>Bringen Sie Tacita hier oder auf dem Server auf denselben Stand.</translation>
    </message>
    <message>
        <source>The server did not accept the access token.</source>
        <translation>Der Server hat das Zugangskennwort nicht angenommen.</translation>
    </message>
    <message>
        <source>Enter the token that the server&apos;s operator gave you.</source>
        <translation>Geben Sie das Zugangskennwort ein, das Sie vom Betreiber haben.</translation>
    </message>
    <message>
        <source>The server does not have this model.</source>
        <translation>Der Server hat dieses Modell nicht.</translation>
    </message>
    <message>
        <source>Choose another model, or leave the model empty.</source>
        <translation>Wählen Sie ein anderes Modell oder lassen Sie das Feld leer.</translation>
    </message>
    <message>
        <source>The connection could not be tested.</source>
        <translation>Die Verbindung konnte nicht geprüft werden.</translation>
    </message>
    <message>
        <source>Check the URL and try again.</source>
        <translation>Prüfen Sie die Adresse und versuchen Sie es erneut.</translation>
    </message>
    <message>
        <source>Your system does not trust the server&apos;s certificate.</source>
        <translation>Ihr System vertraut dem Zertifikat des Servers nicht.</translation>
    </message>
    <message>
        <source>Ask the server&apos;s operator for its SHA-256 fingerprint and compare all of it with the one below. Pin it only if they are the same.</source>
        <translation>Fragen Sie den Betreiber nach dem SHA-256-Fingerabdruck und vergleichen Sie ihn ganz mit dem unten. Legen Sie ihn nur fest, wenn beide gleich sind.</translation>
    </message>
    <message>
        <source>Connected: round trip {0} ms.</source>
        <translation>Verbunden: Umlaufzeit {0} ms.</translation>
    </message>
    <message>
        <source>Expect about {0} and {1} per token.</source>
        <translation>Rechnen Sie mit etwa {0} und {1} je Token.</translation>
    </message>
</context>
<context>
    <name>engine</name>
    <message>
        <source>The engine could not be started.</source>
        <translation>Das Rechenprogramm konnte nicht gestartet werden.</translation>
    </message>
    <message>
        <source>The engine stopped unexpectedly.</source>
        <translation>Das Rechenprogramm hat unerwartet geendet.</translation>
    </message>
    <message>
        <source>Start it again; your chats are saved.</source>
        <translation>Starten Sie es neu; Ihre Chats sind gespeichert.</translation>
    </message>
    <message>
        <source>The engine is not running.</source>
        <translation>Das Rechenprogramm läuft nicht.</translation>
    </message>
    <message>
        <source>A command to the engine is not what the protocol says.</source>
        <translation>Ein Befehl an das Rechenprogramm entspricht nicht dem Protokoll.</translation>
    </message>
    <message>
        <source>A file or a connection could not be used.</source>
        <translation>Eine Datei oder Verbindung war nicht brauchbar.</translation>
    </message>
    <message>
        <source>A file or a connection could not be used: {reason}.</source>
        <translation>Eine Datei oder Verbindung war nicht brauchbar: {reason}.</translation>
    </message>
    <message>
        <source>A part of Tacita does not work on this computer.</source>
        <translation>Ein Teil von Tacita funktioniert auf diesem Rechner nicht.</translation>
    </message>
    <message>
        <source>An encrypted file cannot be opened.</source>
        <translation>Eine verschlüsselte Datei lässt sich nicht öffnen.</translation>
    </message>
    <message>
        <source>Another key was found than the one that this profile&apos;s data was sealed with.</source>
        <translation>Gefunden wurde ein anderer Schlüssel als der, mit dem die Daten dieses Profils versiegelt sind.</translation>
    </message>
    <message>
        <source>Another window changed the key meanwhile.</source>
        <translation>Ein anderes Fenster hat den Schlüssel inzwischen gewechselt.</translation>
    </message>
    <message>
        <source>Another window uses this profile&apos;s keys.</source>
        <translation>Ein anderes Fenster verwendet die Schlüssel dieses Profils.</translation>
    </message>
    <message>
        <source>Change where the key is kept first.</source>
        <translation>Ändern Sie zuerst, wo der Schlüssel liegt.</translation>
    </message>
    <message>
        <source>Check the address and port, and that the server is running.</source>
        <translation>Prüfen Sie Adresse und Port und ob der Server läuft.</translation>
    </message>
    <message>
        <source>Check the address and port: another program answers there.</source>
        <translation>Prüfen Sie Adresse und Port: Dort antwortet ein anderes Programm.</translation>
    </message>
    <message>
        <source>Check the message and the settings.</source>
        <translation>Prüfen Sie die Nachricht und die Einstellungen.</translation>
    </message>
    <message>
        <source>Check the network connection and try again in a moment.</source>
        <translation>Prüfen Sie die Netzverbindung und versuchen Sie es gleich noch einmal.</translation>
    </message>
    <message>
        <source>Check the network connection; what was written so far is kept.</source>
        <translation>Prüfen Sie die Netzverbindung; was bisher geschrieben wurde, bleibt.</translation>
    </message>
    <message>
        <source>Check the permissions of Tacita&apos;s folders, or set TACITA_HOME to another one.</source>
        <translation>Prüfen Sie die Rechte der Ordner von Tacita oder setzen Sie TACITA_HOME auf einen anderen.</translation>
    </message>
    <message>
        <source>Check the server&apos;s address and try again.</source>
        <translation>Prüfen Sie die Adresse des Servers und versuchen Sie es erneut.</translation>
    </message>
    <message>
        <source>Check the spelling of the address and the network connection.</source>
        <translation>Prüfen Sie die Schreibweise der Adresse und die Netzverbindung.</translation>
    </message>
    <message>
        <source>Choose a JSON file that was exported by Tacita. Nothing was changed.</source>
        <translation>Wählen Sie eine JSON-Datei, die Tacita exportiert hat. Nichts wurde geändert.</translation>
    </message>
    <message>
        <source>Choose a longer one, such as four or more words.</source>
        <translation>Wählen Sie einen längeren, etwa vier Wörter oder mehr.</translation>
    </message>
    <message>
        <source>Choose a smaller model.</source>
        <translation>Wählen Sie ein kleineres Modell.</translation>
    </message>
    <message>
        <source>Choose another model, or ask whoever runs the server to import this one again.</source>
        <translation>Wählen Sie ein anderes Modell oder bitten Sie den Betreiber, dieses neu einzulesen.</translation>
    </message>
    <message>
        <source>Choose another model.</source>
        <translation>Wählen Sie ein anderes Modell.</translation>
    </message>
    <message>
        <source>Choose another one with --port.</source>
        <translation>Wählen Sie mit --port einen anderen.</translation>
    </message>
    <message>
        <source>Choose another one.</source>
        <translation>Wählen Sie eine andere.</translation>
    </message>
    <message>
        <source>Choose first where your key is kept.</source>
        <translation>Wählen Sie zuerst, wo Ihr Schlüssel liegt.</translation>
    </message>
    <message>
        <source>Choose one of the models that the server offers.</source>
        <translation>Wählen Sie eines der Modelle, die der Server anbietet.</translation>
    </message>
    <message>
        <source>Close it, or wait a moment, and try again.</source>
        <translation>Schließen Sie es oder warten Sie kurz und versuchen Sie es erneut.</translation>
    </message>
    <message>
        <source>Close other programs.</source>
        <translation>Schließen Sie andere Programme.</translation>
    </message>
    <message>
        <source>Concrete ML&apos;s scheme cannot be used here.</source>
        <translation>Das Verfahren von Concrete ML ist hier nicht verwendbar.</translation>
    </message>
    <message>
        <source>Connect again to see what changed.</source>
        <translation>Verbinden Sie sich neu, um zu sehen, was sich geändert hat.</translation>
    </message>
    <message>
        <source>Connect again.</source>
        <translation>Verbinden Sie sich neu.</translation>
    </message>
    <message>
        <source>Connect again; the key is then uploaded once more.</source>
        <translation>Verbinden Sie sich neu; der Schlüssel wird dann noch einmal hochgeladen.</translation>
    </message>
    <message>
        <source>Connect again; they are downloaded anew.</source>
        <translation>Verbinden Sie sich neu; sie werden erneut geladen.</translation>
    </message>
    <message>
        <source>Connect first.</source>
        <translation>Verbinden Sie sich zuerst.</translation>
    </message>
    <message>
        <source>Do not use this server; tell whoever runs it.</source>
        <translation>Verwenden Sie diesen Server nicht; sagen Sie es dem Betreiber.</translation>
    </message>
    <message>
        <source>Enter an address such as https://tacita.example.org.</source>
        <translation>Geben Sie eine Adresse wie https://tacita.example.org ein.</translation>
    </message>
    <message>
        <source>Enter it.</source>
        <translation>Geben Sie ihn ein.</translation>
    </message>
    <message>
        <source>Enter the access token that you were given for this server.</source>
        <translation>Geben Sie das Zugangskennwort ein, das Sie für diesen Server haben.</translation>
    </message>
    <message>
        <source>Free some disk space; the message is still shown and can be copied.</source>
        <translation>Schaffen Sie Platz auf der Festplatte; die Nachricht ist noch zu sehen und zu kopieren.</translation>
    </message>
    <message>
        <source>Free some space and try again.</source>
        <translation>Schaffen Sie Platz und versuchen Sie es erneut.</translation>
    </message>
    <message>
        <source>Free some space on the disk and try again.</source>
        <translation>Schaffen Sie Platz auf der Festplatte und versuchen Sie es erneut.</translation>
    </message>
    <message>
        <source>If whoever runs the server changed it on purpose, accept the new one; otherwise do not use it.</source>
        <translation>Hat der Betreiber es absichtlich geändert, nehmen Sie das neue an; sonst verwenden Sie es nicht.</translation>
    </message>
    <message>
        <source>Install Tacita again.</source>
        <translation>Installieren Sie Tacita neu.</translation>
    </message>
    <message>
        <source>Install concrete-ml-extensions 0.2, or use the scheme “hint”.</source>
        <translation>Installieren Sie concrete-ml-extensions 0.2 oder verwenden Sie das Verfahren „hint“.</translation>
    </message>
    <message>
        <source>Install the newer version again, or move the history file away.</source>
        <translation>Installieren Sie die neuere Fassung wieder oder legen Sie die Verlaufsdatei beiseite.</translation>
    </message>
    <message>
        <source>It goes on at the next start.</source>
        <translation>Beim nächsten Start geht es weiter.</translation>
    </message>
    <message>
        <source>It was cancelled.</source>
        <translation>Es wurde abgebrochen.</translation>
    </message>
    <message>
        <source>It was stopped.</source>
        <translation>Es wurde angehalten.</translation>
    </message>
    <message>
        <source>Not enough space on the disk: {needed_mb} MB are needed, {free_mb} MB are free.</source>
        <translation>Zu wenig Platz auf der Festplatte: {needed_mb} MB werden gebraucht, {free_mb} MB sind frei.</translation>
    </message>
    <message>
        <source>Open the key again.</source>
        <translation>Öffnen Sie den Schlüssel neu.</translation>
    </message>
    <message>
        <source>Please report this with its details; they hold nothing of what you wrote.</source>
        <translation>Bitte melden Sie das mit den Einzelheiten; sie enthalten nichts von dem, was Sie schrieben.</translation>
    </message>
    <message>
        <source>Port {port} of this computer cannot be used.</source>
        <translation>Der Port {port} dieses Rechners kann nicht benutzt werden.</translation>
    </message>
    <message>
        <source>Restore keys.json from a backup, or move it away: the key itself is not in it.</source>
        <translation>Stellen Sie keys.json aus einer Sicherung wieder her oder legen Sie es beiseite: Der Schlüssel selbst ist nicht darin.</translation>
    </message>
    <message>
        <source>Restore pins.json from a backup, or delete it to trust every model anew.</source>
        <translation>Stellen Sie pins.json aus einer Sicherung wieder her oder löschen Sie es, um jedem Modell neu zu vertrauen.</translation>
    </message>
    <message>
        <source>Restore that key from its recovery file.</source>
        <translation>Stellen Sie jenen Schlüssel aus seiner Rettungsdatei wieder her.</translation>
    </message>
    <message>
        <source>Restore the file from a backup, or use another one.</source>
        <translation>Stellen Sie die Datei aus einer Sicherung wieder her oder verwenden Sie eine andere.</translation>
    </message>
    <message>
        <source>Restore the key from its recovery file.</source>
        <translation>Stellen Sie den Schlüssel aus seiner Rettungsdatei wieder her.</translation>
    </message>
    <message>
        <source>Restore the keyring, or the key from its recovery file.</source>
        <translation>Stellen Sie den Schlüsselbund wieder her oder den Schlüssel aus seiner Rettungsdatei.</translation>
    </message>
    <message>
        <source>See --help.</source>
        <translation>Siehe --help.</translation>
    </message>
    <message>
        <source>See the settings, Privacy.</source>
        <translation>Siehe Einstellungen, Datenschutz.</translation>
    </message>
    <message>
        <source>Shorten the message.</source>
        <translation>Kürzen Sie die Nachricht.</translation>
    </message>
    <message>
        <source>Something is wrong with the keys.</source>
        <translation>Mit den Schlüsseln stimmt etwas nicht.</translation>
    </message>
    <message>
        <source>Something went wrong inside Tacita.</source>
        <translation>In Tacita ist etwas schiefgegangen.</translation>
    </message>
    <message>
        <source>Something went wrong.</source>
        <translation>Etwas ist schiefgegangen.</translation>
    </message>
    <message>
        <source>Start a new conversation.</source>
        <translation>Beginnen Sie ein neues Gespräch.</translation>
    </message>
    <message>
        <source>Start a new one.</source>
        <translation>Beginnen Sie eine neue.</translation>
    </message>
    <message>
        <source>Start again when you like.</source>
        <translation>Beginnen Sie erneut, wann Sie möchten.</translation>
    </message>
    <message>
        <source>Start again when you like; what was downloaded is kept.</source>
        <translation>Beginnen Sie erneut, wann Sie möchten; was geladen wurde, bleibt.</translation>
    </message>
    <message>
        <source>The arguments make no sense together.</source>
        <translation>Die Angaben passen nicht zusammen.</translation>
    </message>
    <message>
        <source>The cache folder is full, not writable, or in use by another window.</source>
        <translation>Der Zwischenspeicher ist voll, nicht beschreibbar oder von einem anderen Fenster belegt.</translation>
    </message>
    <message>
        <source>The change of keys stopped half-way; no data is lost.</source>
        <translation>Der Schlüsselwechsel blieb auf halbem Weg stehen; keine Daten sind verloren.</translation>
    </message>
    <message>
        <source>The connection to the server broke.</source>
        <translation>Die Verbindung zum Server ist abgerissen.</translation>
    </message>
    <message>
        <source>The connection to the server is not encrypted, or its certificate is not trusted.</source>
        <translation>Die Verbindung zum Server ist nicht verschlüsselt, oder seinem Zertifikat wird nicht vertraut.</translation>
    </message>
    <message>
        <source>The conversation is malformed or too long.</source>
        <translation>Das Gespräch ist fehlerhaft oder zu lang.</translation>
    </message>
    <message>
        <source>The disk is full.</source>
        <translation>Die Festplatte ist voll.</translation>
    </message>
    <message>
        <source>The downloaded hints were changed on the disk.</source>
        <translation>Die geladenen Hints wurden auf der Festplatte verändert.</translation>
    </message>
    <message>
        <source>The encrypted file is another one than it should be, perhaps moved or renamed.</source>
        <translation>Die verschlüsselte Datei ist eine andere, als sie sein sollte, vielleicht verschoben oder umbenannt.</translation>
    </message>
    <message>
        <source>The encrypted file was changed or cut short after it was written.</source>
        <translation>Die verschlüsselte Datei wurde nach dem Schreiben verändert oder abgeschnitten.</translation>
    </message>
    <message>
        <source>The encryption stopped before it used the same key material twice.</source>
        <translation>Die Verschlüsselung hat angehalten, bevor sie denselben Schlüsselstoff zweimal verwendet hätte.</translation>
    </message>
    <message>
        <source>The encryption stopped itself.</source>
        <translation>Die Verschlüsselung hat sich selbst angehalten.</translation>
    </message>
    <message>
        <source>The file could not be read or written.</source>
        <translation>Die Datei ließ sich nicht lesen oder schreiben.</translation>
    </message>
    <message>
        <source>The file has format version {version}; this Tacita reads version {known}.</source>
        <translation>Die Datei hat die Formatversion {version}; dieses Tacita liest Version {known}.</translation>
    </message>
    <message>
        <source>The file is not one of Tacita&apos;s encrypted files.</source>
        <translation>Die Datei ist keine der verschlüsselten Dateien von Tacita.</translation>
    </message>
    <message>
        <source>The file was encrypted with another key.</source>
        <translation>Die Datei wurde mit einem anderen Schlüssel verschlüsselt.</translation>
    </message>
    <message>
        <source>The file was sealed with key {sealed_with}, but the open key is {open_key}.</source>
        <translation>Die Datei wurde mit Schlüssel {sealed_with} versiegelt, geöffnet ist aber {open_key}.</translation>
    </message>
    <message>
        <source>The file was written by a newer Tacita.</source>
        <translation>Die Datei wurde von einem neueren Tacita geschrieben.</translation>
    </message>
    <message>
        <source>The file with the pinned models cannot be read.</source>
        <translation>Die Datei mit den festgelegten Modellen ist nicht lesbar.</translation>
    </message>
    <message>
        <source>The key file is damaged or not one of Tacita&apos;s.</source>
        <translation>Die Schlüsseldatei ist beschädigt oder nicht von Tacita.</translation>
    </message>
    <message>
        <source>The key is locked by a passphrase.</source>
        <translation>Der Schlüssel ist mit einem Kennsatz gesperrt.</translation>
    </message>
    <message>
        <source>The key of this profile ({key}) is not where it should be.</source>
        <translation>Der Schlüssel dieses Profils ({key}) ist nicht, wo er sein sollte.</translation>
    </message>
    <message>
        <source>The key was closed already.</source>
        <translation>Der Schlüssel wurde schon geschlossen.</translation>
    </message>
    <message>
        <source>The keyring cannot be reached, so it is not known whether it holds your key.</source>
        <translation>Der Schlüsselbund ist nicht erreichbar; ob er Ihren Schlüssel enthält, ist unbekannt.</translation>
    </message>
    <message>
        <source>The keyring did not answer in time.</source>
        <translation>Der Schlüsselbund hat nicht rechtzeitig geantwortet.</translation>
    </message>
    <message>
        <source>The keyring did not answer within {seconds} seconds.</source>
        <translation>Der Schlüsselbund hat {seconds} Sekunden lang nicht geantwortet.</translation>
    </message>
    <message>
        <source>The keyring is locked.</source>
        <translation>Der Schlüsselbund ist gesperrt.</translation>
    </message>
    <message>
        <source>The keyring of this computer does not keep secrets safely.</source>
        <translation>Der Schlüsselbund dieses Rechners bewahrt Geheimnisse nicht sicher auf.</translation>
    </message>
    <message>
        <source>The keyring {name} is not used: {reason}.</source>
        <translation>Der Schlüsselbund {name} wird nicht verwendet: {reason}.</translation>
    </message>
    <message>
        <source>The keyring&apos;s entry is not a key that this Tacita can read.</source>
        <translation>Der Eintrag im Schlüsselbund ist kein Schlüssel, den dieses Tacita lesen kann.</translation>
    </message>
    <message>
        <source>The keys of this model do not fit into this computer&apos;s memory.</source>
        <translation>Die Schlüssel dieses Modells passen nicht in den Arbeitsspeicher dieses Rechners.</translation>
    </message>
    <message>
        <source>The keys of this model would need {gib} GiB of memory.</source>
        <translation>Die Schlüssel dieses Modells bräuchten {gib} GiB Arbeitsspeicher.</translation>
    </message>
    <message>
        <source>The keys of this session were erased already.</source>
        <translation>Die Schlüssel dieser Sitzung sind schon gelöscht.</translation>
    </message>
    <message>
        <source>The library of Concrete ML&apos;s scheme did something unexpected.</source>
        <translation>Die Bibliothek für das Verfahren von Concrete ML tat etwas Unerwartetes.</translation>
    </message>
    <message>
        <source>The message has {tokens} tokens, this model takes {limit}.</source>
        <translation>Die Nachricht hat {tokens} Tokens, dieses Modell nimmt {limit}.</translation>
    </message>
    <message>
        <source>The message is too long for this model.</source>
        <translation>Die Nachricht ist zu lang für dieses Modell.</translation>
    </message>
    <message>
        <source>The model asked for its layers in a way that is not safe.</source>
        <translation>Das Modell verlangte seine Schichten auf eine Weise, die nicht sicher ist.</translation>
    </message>
    <message>
        <source>The model {model} of {server} is not the one that was used before (it was {pinned}, now it is {found}). Nothing has been sent to it.</source>
        <translation>Das Modell {model} von {server} ist nicht das bisher verwendete (es war {pinned}, jetzt ist es {found}). Es wurde nichts gesendet.</translation>
    </message>
    <message>
        <source>The model&apos;s chat template failed, or cannot do this.</source>
        <translation>Die Gesprächsvorlage des Modells ist gescheitert oder kann das nicht.</translation>
    </message>
    <message>
        <source>The model&apos;s files are damaged or contradict one another.</source>
        <translation>Die Dateien des Modells sind beschädigt oder widersprechen einander.</translation>
    </message>
    <message>
        <source>The passphrase is shorter than {minimum} characters.</source>
        <translation>Der Kennsatz ist kürzer als {minimum} Zeichen.</translation>
    </message>
    <message>
        <source>The passphrase is too short.</source>
        <translation>Der Kennsatz ist zu kurz.</translation>
    </message>
    <message>
        <source>The passphrase is wrong.</source>
        <translation>Der Kennsatz ist falsch.</translation>
    </message>
    <message>
        <source>The port cannot be used.</source>
        <translation>Der Port kann nicht benutzt werden.</translation>
    </message>
    <message>
        <source>The saved chats cannot be opened with the present key.</source>
        <translation>Die gespeicherten Chats lassen sich mit dem gegenwärtigen Schlüssel nicht öffnen.</translation>
    </message>
    <message>
        <source>The saved chats could not be read or written.</source>
        <translation>Die gespeicherten Chats ließen sich nicht lesen oder schreiben.</translation>
    </message>
    <message>
        <source>The saved chats were written by a newer Tacita.</source>
        <translation>Die gespeicherten Chats stammen von einem neueren Tacita.</translation>
    </message>
    <message>
        <source>The server could not be reached.</source>
        <translation>Der Server war nicht erreichbar.</translation>
    </message>
    <message>
        <source>The server did not accept the access token.</source>
        <translation>Der Server hat das Zugangskennwort nicht angenommen.</translation>
    </message>
    <message>
        <source>The server did not answer in time.</source>
        <translation>Der Server hat nicht rechtzeitig geantwortet.</translation>
    </message>
    <message>
        <source>The server does not serve this model.</source>
        <translation>Der Server hat dieses Modell nicht.</translation>
    </message>
    <message>
        <source>The server does not serve {model}; it serves: {served}.</source>
        <translation>Der Server hat {model} nicht; er hat: {served}.</translation>
    </message>
    <message>
        <source>The server has too much to do.</source>
        <translation>Der Server hat zu viel zu tun.</translation>
    </message>
    <message>
        <source>The server no longer has this session&apos;s compression key.</source>
        <translation>Der Server hat den Kompressionsschlüssel dieser Sitzung nicht mehr.</translation>
    </message>
    <message>
        <source>The server now serves another model under the same name.</source>
        <translation>Der Server bietet unter demselben Namen jetzt ein anderes Modell an.</translation>
    </message>
    <message>
        <source>The server on this computer could not be started or kept running.</source>
        <translation>Der Server auf diesem Rechner ließ sich nicht starten oder lief nicht weiter.</translation>
    </message>
    <message>
        <source>The server refused the connection.</source>
        <translation>Der Server hat die Verbindung abgelehnt.</translation>
    </message>
    <message>
        <source>The server says: {says}.</source>
        <translation>Der Server sagt: {says}.</translation>
    </message>
    <message>
        <source>The server sent something that the protocol does not allow.</source>
        <translation>Der Server sandte etwas, das das Protokoll nicht erlaubt.</translation>
    </message>
    <message>
        <source>The server speaks another version of the protocol.</source>
        <translation>Der Server spricht eine andere Fassung des Protokolls.</translation>
    </message>
    <message>
        <source>The server speaks protocol version {theirs}, this program {ours}.</source>
        <translation>Der Server spricht Protokollversion {theirs}, dieses Programm {ours}.</translation>
    </message>
    <message>
        <source>The server&apos;s address, token or certificate cannot be used.</source>
        <translation>Adresse, Zugangskennwort oder Zertifikat des Servers sind nicht brauchbar.</translation>
    </message>
    <message>
        <source>The server&apos;s hints do not match its answers in {bad} of {total} layers. Nothing of yours was sent.</source>
        <translation>Die Hints des Servers passen in {bad} von {total} Schichten nicht zu seinen Antworten. Von Ihnen wurde nichts gesendet.</translation>
    </message>
    <message>
        <source>The server&apos;s hints do not match its answers: it is broken, or it lies. Nothing of yours was sent.</source>
        <translation>Die Hints des Servers passen nicht zu seinen Antworten: Er ist defekt, oder er lügt. Von Ihnen wurde nichts gesendet.</translation>
    </message>
    <message>
        <source>The server&apos;s model is not the one that was used before. Nothing has been sent to it.</source>
        <translation>Das Modell des Servers ist nicht das bisher verwendete. Es wurde nichts gesendet.</translation>
    </message>
    <message>
        <source>The server&apos;s name was not found.</source>
        <translation>Der Name des Servers wurde nicht gefunden.</translation>
    </message>
    <message>
        <source>The server, or a proxy on the way, does not speak WebSocket.</source>
        <translation>Der Server oder ein Proxy auf dem Weg spricht kein WebSocket.</translation>
    </message>
    <message>
        <source>The session has ended.</source>
        <translation>Die Sitzung ist beendet.</translation>
    </message>
    <message>
        <source>There is a key already.</source>
        <translation>Es gibt schon einen Schlüssel.</translation>
    </message>
    <message>
        <source>There is no connection to a server.</source>
        <translation>Es gibt keine Verbindung zu einem Server.</translation>
    </message>
    <message>
        <source>There is no key yet.</source>
        <translation>Es gibt noch keinen Schlüssel.</translation>
    </message>
    <message>
        <source>There is not enough memory.</source>
        <translation>Der Arbeitsspeicher reicht nicht.</translation>
    </message>
    <message>
        <source>This cannot be done with the way that this profile keeps its key.</source>
        <translation>Das geht nicht mit der Art, wie dieses Profil seinen Schlüssel aufbewahrt.</translation>
    </message>
    <message>
        <source>This file cannot be imported.</source>
        <translation>Diese Datei lässt sich nicht importieren.</translation>
    </message>
    <message>
        <source>This is a fault of the program that wrote it.</source>
        <translation>Das ist ein Fehler des Programms, das ihn schrieb.</translation>
    </message>
    <message>
        <source>This kind of model cannot be run with encrypted layers.</source>
        <translation>Diese Art von Modell läuft nicht mit verschlüsselten Schichten.</translation>
    </message>
    <message>
        <source>This profile was last used with key {expected}, but key {found} was found.</source>
        <translation>Dieses Profil wurde zuletzt mit Schlüssel {expected} verwendet, gefunden wurde aber {found}.</translation>
    </message>
    <message>
        <source>This profile&apos;s key is not where it should be.</source>
        <translation>Der Schlüssel dieses Profils ist nicht, wo er sein sollte.</translation>
    </message>
    <message>
        <source>This request cannot be answered.</source>
        <translation>Diese Anfrage lässt sich nicht beantworten.</translation>
    </message>
    <message>
        <source>Try again, or use a passphrase, or a key for this session only.</source>
        <translation>Versuchen Sie es erneut, oder verwenden Sie einen Kennsatz oder einen Schlüssel nur für diese Sitzung.</translation>
    </message>
    <message>
        <source>Try again.</source>
        <translation>Versuchen Sie es erneut.</translation>
    </message>
    <message>
        <source>Try again; if it happens once more, install Tacita again.</source>
        <translation>Versuchen Sie es erneut; geschieht es wieder, installieren Sie Tacita neu.</translation>
    </message>
    <message>
        <source>Try again; if it happens once more, the server is faulty or not to be trusted.</source>
        <translation>Versuchen Sie es erneut; geschieht es wieder, ist der Server fehlerhaft oder nicht vertrauenswürdig.</translation>
    </message>
    <message>
        <source>Unlock it and try again, or use a passphrase, or a key for this session only.</source>
        <translation>Entsperren Sie ihn und versuchen Sie es erneut, oder verwenden Sie einen Kennsatz oder einen Schlüssel nur für diese Sitzung.</translation>
    </message>
    <message>
        <source>Unlock the keyring or passphrase that was used before. Nothing was changed.</source>
        <translation>Entsperren Sie den Schlüsselbund oder den Kennsatz von vorher. Nichts wurde geändert.</translation>
    </message>
    <message>
        <source>Update Tacita here or on the server, so that both have the same version.</source>
        <translation>Bringen Sie Tacita hier oder auf dem Server auf denselben Stand.</translation>
    </message>
    <message>
        <source>Update Tacita to read it.</source>
        <translation>Erneuern Sie Tacita, um sie zu lesen.</translation>
    </message>
    <message>
        <source>Use a passphrase, or a key for this session only.</source>
        <translation>Verwenden Sie einen Kennsatz oder einen Schlüssel nur für diese Sitzung.</translation>
    </message>
    <message>
        <source>Use an https:// address. Where the certificate is not trusted, ask whoever runs the server for its SHA-256 fingerprint, compare it with the one that Test connection shows, and enter it.</source>
        <translation>Verwenden Sie eine https://-Adresse. Wird dem Zertifikat nicht vertraut, fragen Sie den Betreiber nach dem SHA-256-Fingerabdruck, vergleichen Sie ihn mit dem, den „Verbindung prüfen“ zeigt, und geben Sie ihn ein.</translation>
    </message>
    <message>
        <source>Use it, or erase it first.</source>
        <translation>Verwenden Sie ihn, oder löschen Sie ihn zuerst.</translation>
    </message>
    <message>
        <source>Use the scheme “hint”, the default.</source>
        <translation>Verwenden Sie das Verfahren „hint“, die Vorgabe.</translation>
    </message>
    <message>
        <source>Wait a moment and try again.</source>
        <translation>Warten Sie kurz und versuchen Sie es erneut.</translation>
    </message>
    <message>
        <source>Wait until the quota begins anew, or ask whoever runs the server for a larger one.</source>
        <translation>Warten Sie, bis das Kontingent neu beginnt, oder bitten Sie den Betreiber um ein größeres.</translation>
    </message>
    <message>
        <source>What answers at this address is not a Tacita server.</source>
        <translation>Was unter dieser Adresse antwortet, ist kein Tacita-Server.</translation>
    </message>
    <message>
        <source>What this access token may use today is used up.</source>
        <translation>Was dieses Zugangskennwort heute verbrauchen darf, ist aufgebraucht.</translation>
    </message>
    <message>
        <source>keys.json is damaged, so it is not known which key this profile uses.</source>
        <translation>keys.json ist beschädigt; welchen Schlüssel dieses Profil verwendet, ist unbekannt.</translation>
    </message>
</context>
<context>
    <name>erase</name>
    <message>
        <source>The key and all saved chats are deleted. This cannot be undone.</source>
        <translation>Der Schlüssel und alle gespeicherten Chats werden gelöscht. Das lässt sich nicht rückgängig machen.</translation>
    </message>
    <message>
        <source>Erase keys and chats</source>
        <translation>Schlüssel und Chats löschen</translation>
    </message>
    <message>
        <source>Factory reset</source>
        <translation>Alles zurücksetzen</translation>
    </message>
    <message>
        <source>Settings, the key in the keyring, chats, hints, local models and logs are deleted. This cannot be undone.</source>
        <translation>Einstellungen, der Schlüssel im Schlüsselbund, Chats, Hints, lokale Modelle und Protokolle werden gelöscht. Das lässt sich nicht rückgängig machen.</translation>
    </message>
    <message>
        <source>Type “{0}” to go on</source>
        <translation>Zum Fortfahren „{0}“ eintippen</translation>
    </message>
</context>
<context>
    <name>figures</name>
    <message>
        <source>{0} MB</source>
        <translation>{0} MB</translation>
    </message>
    <message>
        <source>{0} s</source>
        <translation>{0} s</translation>
    </message>
    <message>
        <source>{0} min</source>
        <translation>{0} min</translation>
    </message>
    <message>
        <source>{0} h</source>
        <translation>{0} h</translation>
    </message>
    <message>
        <source>{0} up</source>
        <translation>{0} gesendet</translation>
    </message>
    <message>
        <source>{0} down</source>
        <translation>{0} empfangen</translation>
    </message>
    <message>
        <source>{0} per token</source>
        <translation>{0} je Token</translation>
    </message>
    <message>
        <source>{0} tokens</source>
        <translation>{0} Tokens</translation>
    </message>
    <message>
        <source>the oldest {0} messages were left out</source>
        <translation>die ältesten {0} Nachrichten blieben weg</translation>
    </message>
    <message>
        <source>the server&apos;s answers had impossible values: do not rely on this</source>
        <translation>die Antworten des Servers hatten unmögliche Werte: verlassen Sie sich nicht darauf</translation>
    </message>
    <message>
        <source>This chat: {0} up · {1} down · {2} tokens</source>
        <translation>Dieser Chat: {0} gesendet · {1} empfangen · {2} Tokens</translation>
    </message>
</context>
<context>
    <name>keys</name>
    <message>
        <source>Your master key is kept in the system keyring.</source>
        <translation>Ihr Hauptschlüssel liegt im Schlüsselbund des Systems.</translation>
    </message>
    <message>
        <source>Your master key is sealed with your passphrase.</source>
        <translation>Ihr Hauptschlüssel ist mit Ihrem Kennsatz versiegelt.</translation>
    </message>
    <message>
        <source>Keys live in memory only. Chats are forgotten when you quit.</source>
        <translation>Schlüssel sind nur im Arbeitsspeicher. Chats sind beim Beenden vergessen.</translation>
    </message>
    <message>
        <source>The master key is gone, so saved chats cannot be opened.</source>
        <translation>Der Hauptschlüssel ist weg, gespeicherte Chats lassen sich nicht öffnen.</translation>
    </message>
    <message>
        <source>There is no master key yet.</source>
        <translation>Es gibt noch keinen Hauptschlüssel.</translation>
    </message>
    <message>
        <source>The system keyring cannot be reached, so it is not known whether a key exists.</source>
        <translation>Der Schlüsselbund des Systems ist nicht erreichbar; ob es einen Schlüssel gibt, ist unbekannt.</translation>
    </message>
    <message>
        <source>The state of the keys is not known.</source>
        <translation>Der Zustand der Schlüssel ist unbekannt.</translation>
    </message>
</context>
<context>
    <name>library</name>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
</context>
<context>
    <name>sent</name>
    <message>
        <source>Encrypted numbers of your conversation</source>
        <translation>Verschlüsselte Zahlen Ihres Gesprächs</translation>
    </message>
    <message>
        <source>One query for each group of layers and token, and its answer.</source>
        <translation>Eine Anfrage je Schichtgruppe und Token, und ihre Antwort.</translation>
    </message>
    <message>
        <source>How many tokens, how often and when. Not one of your words or the model&apos;s.</source>
        <translation>Wie viele Tokens, wie oft und wann. Kein Wort von Ihnen oder vom Modell.</translation>
    </message>
    <message>
        <source>Test queries</source>
        <translation>Prüfanfragen</translation>
    </message>
    <message>
        <source>Encrypted zeros that show whether the server&apos;s hints are true.</source>
        <translation>Verschlüsselte Nullen, die zeigen, ob die Hints des Servers stimmen.</translation>
    </message>
    <message>
        <source>That a new session begins.</source>
        <translation>Dass eine neue Sitzung beginnt.</translation>
    </message>
    <message>
        <source>Hints</source>
        <translation>Hints</translation>
    </message>
    <message>
        <source>Fetched once for each model. They are the same for everyone.</source>
        <translation>Einmal je Modell geladen. Sie sind für alle gleich.</translation>
    </message>
    <message>
        <source>Which model you use, and how much of its hints you have.</source>
        <translation>Welches Modell Sie verwenden und wie viel von dessen Hints Sie haben.</translation>
    </message>
    <message>
        <source>The small part of the model</source>
        <translation>Der kleine Teil des Modells</translation>
    </message>
    <message>
        <source>Vocabulary, norms and scales. They are the same for everyone.</source>
        <translation>Wortschatz, Normen und Maßstäbe. Sie sind für alle gleich.</translation>
    </message>
    <message>
        <source>Which model you use.</source>
        <translation>Welches Modell Sie verwenden.</translation>
    </message>
    <message>
        <source>Questions about the server</source>
        <translation>Fragen nach dem Server</translation>
    </message>
    <message>
        <source>Its version and models, with your access token if it wants one.</source>
        <translation>Seine Fassung und Modelle, mit Ihrem Zugangskennwort, falls er eines verlangt.</translation>
    </message>
    <message>
        <source>Who you are, if the token is yours alone.</source>
        <translation>Wer Sie sind, falls nur Sie dieses Kennwort haben.</translation>
    </message>
    <message>
        <source>Compression key</source>
        <translation>Kompressionsschlüssel</translation>
    </message>
    <message>
        <source>With the scheme glwe only: a public key, new at each connection.</source>
        <translation>Nur mit dem Verfahren glwe: ein öffentlicher Schlüssel, neu bei jeder Verbindung.</translation>
    </message>
    <message>
        <source>Test connection</source>
        <translation>Verbindung prüfen</translation>
    </message>
    <message>
        <source>A few kilobytes, only when you press it or look at the models.</source>
        <translation>Wenige Kilobytes, nur wenn Sie es drücken oder die Modelle ansehen.</translation>
    </message>
    <message>
        <source>That someone looked, with which access token.</source>
        <translation>Dass jemand nachsah, und mit welchem Zugangskennwort.</translation>
    </message>
    <message>
        <source>Links</source>
        <translation>Verweise</translation>
    </message>
    <message>
        <source>A link opens in your browser, only after you saw its address.</source>
        <translation>Ein Verweis öffnet sich in Ihrem Browser, erst nachdem Sie die Adresse sahen.</translation>
    </message>
    <message>
        <source>That site sees your visit; the server does not.</source>
        <translation>Jene Seite sieht Ihren Besuch; der Server nicht.</translation>
    </message>
</context>
<context>
    <name>shortcuts</name>
    <message>
        <source>Send the message</source>
        <translation>Nachricht senden</translation>
    </message>
    <message>
        <source>New line</source>
        <translation>Neue Zeile</translation>
    </message>
    <message>
        <source>Stop the reply, or leave search and editing</source>
        <translation>Antwort anhalten oder Suche und Bearbeiten verlassen</translation>
    </message>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
    <message>
        <source>Temporary chat</source>
        <translation>Flüchtiger Chat</translation>
    </message>
    <message>
        <source>Search all chats</source>
        <translation>Alle Chats durchsuchen</translation>
    </message>
    <message>
        <source>Find in this chat</source>
        <translation>In diesem Chat suchen</translation>
    </message>
    <message>
        <source>Make another reply</source>
        <translation>Andere Antwort erzeugen</translation>
    </message>
    <message>
        <source>Continue the reply</source>
        <translation>Antwort fortsetzen</translation>
    </message>
    <message>
        <source>Copy the last reply</source>
        <translation>Letzte Antwort kopieren</translation>
    </message>
    <message>
        <source>Show or hide the chats</source>
        <translation>Chats ein- oder ausblenden</translation>
    </message>
    <message>
        <source>What the server sees</source>
        <translation>Was der Server sieht</translation>
    </message>
    <message>
        <source>Write a message</source>
        <translation>Nachricht schreiben</translation>
    </message>
    <message>
        <source>Larger, smaller, normal text</source>
        <translation>Schrift größer, kleiner, normal</translation>
    </message>
    <message>
        <source>Rename or delete the chosen chat</source>
        <translation>Gewählten Chat umbenennen oder löschen</translation>
    </message>
    <message>
        <source>Close or open the chosen folder</source>
        <translation>Gewählten Ordner schließen oder öffnen</translation>
    </message>
    <message>
        <source>What can be done to the chosen chat or folder</source>
        <translation>Was sich mit dem gewählten Chat oder Ordner tun lässt</translation>
    </message>
    <message>
        <source>Settings</source>
        <translation>Einstellungen</translation>
    </message>
    <message>
        <source>This list</source>
        <translation>Diese Liste</translation>
    </message>
    <message>
        <source>Quit</source>
        <translation>Beenden</translation>
    </message>
</context>
<context>
    <name>status</name>
    <message>
        <source>Offline</source>
        <translation>Nicht verbunden</translation>
    </message>
    <message>
        <source>Starting</source>
        <translation>Start</translation>
    </message>
    <message>
        <source>Connecting</source>
        <translation>Verbinden</translation>
    </message>
    <message>
        <source>Preparing the model for the local server</source>
        <translation>Modell für den lokalen Server vorbereiten</translation>
    </message>
    <message>
        <source>Preparing keys</source>
        <translation>Schlüssel vorbereiten</translation>
    </message>
    <message>
        <source>Checking the server&apos;s hints</source>
        <translation>Hints des Servers prüfen</translation>
    </message>
    <message>
        <source>Downloading hints</source>
        <translation>Hints laden</translation>
    </message>
    <message>
        <source>Ready</source>
        <translation>Bereit</translation>
    </message>
    <message>
        <source>Reading the prompt</source>
        <translation>Eingabe lesen</translation>
    </message>
    <message>
        <source>Writing</source>
        <translation>Schreiben</translation>
    </message>
    <message>
        <source>Connection lost, reconnecting</source>
        <translation>Verbindung verloren, neuer Versuch</translation>
    </message>
    <message>
        <source>Working</source>
        <translation>In Arbeit</translation>
    </message>
    <message>
        <source>· token {0}</source>
        <translation>· Token {0}</translation>
    </message>
    <message>
        <source>· {0} of {1}</source>
        <translation>· {0} von {1}</translation>
    </message>
</context>
<context>
    <name>vault</name>
    <message>
        <source>The saved chats cannot be opened.</source>
        <translation>Die gespeicherten Chats lassen sich nicht öffnen.</translation>
    </message>
</context>
</TS>
